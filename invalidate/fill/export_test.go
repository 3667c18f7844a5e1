package fill

// Callers returns how many calls of Get wait for the load of a key without stamps.
func (c *Cache[V]) Callers(key string) int {
	r := request{key: key}
	c.flights.mu.Lock()
	defer c.flights.mu.Unlock()
	if f := c.flights.open[r.name()]; f != nil {
		return f.callers
	}
	return 0
}
