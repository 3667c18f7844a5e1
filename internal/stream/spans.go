package stream

// Span is a run of sequences, both ends included. It is empty if First > Last.
type Span struct{ First, Last uint64 }

// Spans are runs of sequences in ascending order.
type Spans []Span

// Add appends the sequences first to last, if there are any. They must come after all that s has.
func (s *Spans) Add(first, last uint64) {
	n := len(*s)
	switch {
	case first > last:
	case n > 0 && (*s)[n-1].Last+1 == first:
		(*s)[n-1].Last = last
	default:
		*s = append(*s, Span{first, last})
	}
}

// Without returns s without the given sequences, which must be in ascending order.
func (s Spans) Without(sequences []uint64) (out Spans) {
	for _, run := range s {
		for len(sequences) > 0 && sequences[0] <= run.Last {
			if sequences[0] >= run.First {
				out.Add(run.First, sequences[0]-1)
				run.First = sequences[0] + 1
			}
			sequences = sequences[1:]
		}
		out.Add(run.First, run.Last)
	}
	return out
}

// From returns s without the sequences before first.
func (s Spans) From(first uint64) (out Spans) {
	for _, run := range s {
		out.Add(max(run.First, first), run.Last)
	}
	return out
}
