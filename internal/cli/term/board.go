package term

import (
	"strings"
	"sync"
)

// A Task is one of several tasks whose progress is reported together.
type Task struct {
	Name         string // precedes the reason why it waits; may be empty
	Seen, Events int64  // how far it is
	Total        int64  // of Seen
}

// A Board reports several tasks as one Progress. It is safe for concurrent use.
type Board struct {
	mu    sync.Mutex
	p     *Progress
	tasks []Task
	notes []string
	total int64
}

// NewBoard reports tasks to p, which nothing else must use until End.
func NewBoard(p *Progress, tasks []Task) *Board {
	b := &Board{p: p, tasks: tasks, notes: make([]string, len(tasks))}
	for _, t := range tasks {
		b.total += t.Total
		p.seen, p.events = p.seen+t.Seen, p.events+t.Events // a wait before the first step must show them
	}
	p.total = b.total
	return b
}

// Show reports how far task i is.
func (b *Board) Show(i int, seen, events int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tasks[i].Seen, b.tasks[i].Events = seen, events
	seen, events = 0, 0
	for _, t := range b.tasks {
		seen, events = seen+t.Seen, events+t.Events
	}
	b.p.Show(seen, b.total, events)
}

// Wait reports why task i waits; an empty note means that it continues.
func (b *Board) Wait(i int, note string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.notes[i] = note; note != "" {
		b.notes[i] = b.tasks[i].Name + note
	}
	var all []string
	for _, n := range b.notes {
		if n != "" {
			all = append(all, n)
		}
	}
	b.p.Wait(strings.Join(all, "; "))
}

// End leaves the last line on the terminal.
func (b *Board) End() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.p.End()
}
