package invalidate

// SetHook lets a test act at a named point of the work: "unlinked" is between the reply of Redis and the acks.
func (v *Invalidator) SetHook(hook func(point string)) { v.hook = hook }
