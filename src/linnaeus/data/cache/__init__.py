"""Decoded images kept between runs, in one folder."""
