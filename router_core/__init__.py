"""Router Core: a self-hosted customer-event router that speaks mParticle's client protocols."""

__version__ = "0.1.0"
