"""Every knob once, and the pages that hold them."""
