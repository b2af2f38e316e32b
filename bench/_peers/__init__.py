"""What `bench/methods.py` is made of: the tasks, the peers as a user would call them, the pairs and the measuring."""

import logging
import warnings

# Torch, torchao and onnxruntime warn and log on import and at every export, whatever the machine.
warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
