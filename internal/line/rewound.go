package line

import (
	"github.com/fenceline/fenceline/internal/keeper"
)

// An etcd that was restored from a backup has forgotten what came after it. Whoever reads from the quorum at a revision
// below one that was seen before knows that; then nothing is true any more that was held or waited for.

// rewound ends what hangs on p, and on all of its lease, after the quorum has answered at a revision before p's entry.
func (l *Line) rewound(p *place, revision int64) {
	l.lose(p, goneBack(p.epoch, p.entry.Create, revision))
}

// goneBack loses the epoch, and returns why.
func goneBack(e *keeper.Epoch, seen, now int64) error {
	e.Rewound(seen, now)
	return e.Err()
}
