"""What the tests need to run real servers, the proxy itself and raw protocol clients."""
