() => ({ failed: Date.now() })
