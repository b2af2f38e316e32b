"""A model is what it offers: how it is opened, asked, and looked into."""
