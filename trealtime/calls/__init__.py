"""Phone calls that the service carries itself (SIP), and client secrets for browsers: REST requests and webhooks."""
