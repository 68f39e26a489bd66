"""What a sensor adds to a picture: random noise, fixed pattern, defects; and which sensor it is."""
