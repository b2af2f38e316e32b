"""How predictions hold under hostile inputs."""
