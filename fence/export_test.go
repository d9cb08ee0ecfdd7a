package fence

// Remembered is how many names take up memory.
func (g *Gate) Remembered() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.names)
}
