"""What every test shares: generated examples are judged by what they show, never by how busy the machine is."""

from hypothesis import HealthCheck, settings

settings.register_profile("cbsigned", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("cbsigned")
