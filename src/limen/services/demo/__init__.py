"""The demo: three sample apps, a service, people to be, a bundle that guards them, a tour of six scenes."""
