"""Records of trained models, and the page that is written from them."""
