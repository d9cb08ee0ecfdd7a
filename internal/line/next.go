package line

// situation is all that the next step of a line depends on.
type situation struct {
	place   placeState
	gone    bool // the entry has vanished; why is being asked
	leaving bool // its end has been asked for, and cannot be taken back
	lent    bool // the entry is a Set's: whether it comes and goes is decided there
	rewrite bool // the value of the entry is to be changed
	held    bool // somebody here holds
	waiting int  // how many wait here
	try     bool // the first of them will not wait
	joins   bool // the first of them may hold beside those who do
	stale   bool // whether others stand behind our entry is not known any more, and something rests on it

	suspect bool // somebody who held before us has gone; whether he died is to be found out
	early   bool // he did, and it is too soon to take over

	// What follows matters only when place is first and nobody holds.
	resting bool // the entry must stay for a minimum, but is nobody's any more
	kept    bool // and for the rest of that under the Session's lease, since etcd refuses another
	used    bool // the entry has been granted before
	exposed bool // its holder has looked at it
	spent   bool // it has no more tokens
	turn    bool // local grants in a row are used up, and others wait, or may
	linger  bool // the entry is to stay, though nobody wants it at the moment
}

type placeState int

const (
	absent placeState = iota // no entry in etcd
	asked                    // an enqueue was sent, its outcome is unknown
	queued                   // others are ahead
	first                    // the rule is satisfied
)

// step is what a line does next.
type step int

const (
	rest      step = iota // nothing, until something happens
	grant                 // give the entry to the first local waiter
	enqueue               // get an entry
	try                   // get an entry if it would be first
	wait                  // until the rule is satisfied
	inquire               // how did those end who held before us?
	survey                // does anybody stand behind our entry?
	swap                  // go to the back of the line, with a new entry
	rewriting             // change the value of the entry
	park                  // leave the entry to itself, for the rest of its minimum
	drop                  // leave the line
)

var stepNames = [...]string{"rest", "grant", "enqueue", "try", "wait", "inquire", "survey", "swap", "rewrite", "park", "drop"}

func (s step) String() string { return stepNames[s] }

// next decides.
func next(s situation) step {
	wanted := s.waiting > 0
	switch {
	case s.gone:
		return rest
	case s.rewrite:
		return rewriting
	case s.resting && s.kept:
		return rest
	case s.resting:
		return park
	case s.leaving:
		return drop
	case s.place == absent && (!wanted || s.lent):
		return rest
	case s.place == absent || s.place == asked && wanted:
		if s.try {
			return try
		}
		return enqueue
	case s.place == asked:
		return drop
	case s.place == queued && wanted:
		return wait
	case s.place == queued && !s.lent:
		return drop
	case s.place == queued:
		return rest
	case s.held && wanted && s.stale:
		return survey
	case s.held && !(wanted && s.joins):
		return rest
	case wanted && s.used && !s.held && !s.lent && (s.exposed || s.spent || s.turn) && s.try: // it must not stand in line
		return drop
	case wanted && s.used && !s.held && !s.lent && (s.exposed || s.spent || s.turn):
		return swap
	case wanted && s.suspect:
		return inquire
	case wanted && s.early:
		return rest
	case wanted && !(s.lent && s.used):
		return grant
	case s.lent:
		return rest
	case s.linger && s.exposed: // the guard of the last holder must not outlive its hold
		return swap
	case s.linger && s.stale:
		return survey
	case s.linger:
		return rest
	}
	return drop
}
