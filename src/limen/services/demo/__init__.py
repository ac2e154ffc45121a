"""The demo: three sample apps, people to be, a bundle that guards them, and a tour of five scenes."""
