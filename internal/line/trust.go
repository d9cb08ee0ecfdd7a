package line

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/watch"
)

// What we do while nobody else waits (hand the entry on here, let it linger, share it with another reader) rests on
// silence: on what the watch has not told. A connection may have died, a member may lag. So "nobody" is an answer only
// while the stream is heard of, and the quorum has said so not long ago; then it is "maybe".

// answer to whether others stand behind our entry.
type answer int

const (
	maybe answer = iota
	no
	yes
)

// report is what the quorum has said of those behind p's entry.
type report struct {
	p        *place
	asked    time.Duration // when, as all times here on the keeper's clock
	revision int64
	answer   answer // maybe: it said that p's entry stands, and nothing of those behind
}

// lingerPatience is how long an entry lingers on the word of a watch alone. A member that lags and does not know it is
// rare, and a process may have thousands of entries that linger.
const lingerPatience = 30 * time.Second

// openingTime is how long a view may take to open before the quorum is asked instead.
const openingTime = time.Second

// quietTime is for how long the stream is not asked again whether it is alive: local hand-offs take a microsecond.
const quietTime = 20 * time.Millisecond

// othersWait says whether other processes stand behind our entry.
func (l *Line) othersWait() answer { return l.othersWaitAt(l.keeper.Elapsed()) }

func (l *Line) othersWaitAt(now time.Duration) answer {
	return l.whether(now, 0, func(entries []Entry) bool { return !alone(entries, l.place.entry) })
}

// behind says whether somebody stands behind our entry who keeps others from joining it. What the quorum said before
// the first who waits here came is too old for him: somebody may have come in between.
func (l *Line) behind() answer {
	var came time.Duration
	if l.queue.Len() > 0 {
		came = l.queue.Front().Value.(*waiter).came
	}
	return l.whether(l.keeper.Elapsed(), came, l.keptOut)
}

// keptOut says whether anybody of these keeps others from joining us.
func (l *Line) keptOut(entries []Entry) bool {
	for _, e := range entries {
		if !l.rule.Joins(e) {
			return true
		}
	}
	return false
}

// whether asks the view, and then the last report of the quorum, if that is from after since.
func (l *Line) whether(now, since time.Duration, found func([]Entry) bool) answer {
	v, p, r := l.view, l.place, &l.others
	ours := r.p == p
	if v != nil && v.key == l.prefix && v.ready && v.rev >= p.entry.Create {
		switch {
		case found(v.entries):
			return yes
		case ours && r.answer == yes && v.rev < r.revision: // the watch ought to have told
		case now < v.quietUntil && v.quietFor == p:
			return no
		case ours && l.keeper.Watch().Alive() && now-r.asked < l.trustFor():
			v.quietUntil, v.quietFor = now+quietTime, p
			return no
		}
	}
	if ours && r.asked >= since && now-r.asked < watch.TrustFor {
		return r.answer
	}
	return maybe
}

// trustFor is how long a watch is believed that shows nobody, after the quorum was asked.
func (l *Line) trustFor() time.Duration {
	if len(l.holds) == 0 && l.queue.Len() == 0 {
		return lingerPatience
	}
	return l.keeper.Silence()
}

// mustAsk says whether the quorum has to be asked what the view does not tell.
func (l *Line) mustAsk() bool {
	if v := l.view; v != nil && v.key == l.prefix {
		return v.ready || time.Since(v.opened) >= openingTime
	}
	return time.Now().Before(l.viewAfter)
}

// adjustTrust has the line looked at again when what it rests on may not be true any more.
func (l *Line) adjustTrust() {
	p := l.place
	if p == nil || p.state != first || p.leaving || l.lent {
		return
	}
	lingers := len(l.holds) == 0 && l.queue.Len() == 0
	switch {
	case lingers && l.relying == nil:
		l.relying = l.keeper.Watch().Rely()
	case lingers:
	case len(l.holds) == 0, l.queue.Len() == 0, l.rule.Joins == nil:
		return
	}
	switch v := l.view; {
	case v == nil || v.key != l.prefix:
		l.lookIn(max(time.Until(l.viewAfter), openingTime))
	case !v.ready:
		l.lookIn(openingTime)
	case lingers && l.keeper.Watch().Alive():
		l.lookIn(lingerPatience - (l.keeper.Elapsed() - l.others.asked))
	default:
		l.lookIn(watch.TrustFor)
	}
}

// lookIn has the line looked at again after d at the latest.
func (l *Line) lookIn(d time.Duration) {
	at := time.Now().Add(max(d, 0) + time.Millisecond) // else it is looked at before it is time
	if !l.lookAt.IsZero() && !at.Before(l.lookAt) {
		return
	}
	l.lookAt = at
	if l.lookAgain != nil {
		l.lookAgain.Reset(time.Until(at))
		return
	}
	l.lookAgain = time.AfterFunc(time.Until(at), func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.lookAt = time.Time{}
		l.proceed()
	})
}

// distrust is the end of what adjustTrust has begun.
func (l *Line) distrust() {
	if l.relying != nil {
		l.relying()
		l.relying = nil
	}
	if l.lookAgain != nil {
		l.lookAgain.Stop()
		l.lookAt = time.Time{}
	}
}

// survey asks the quorum who stands behind our entry.
func (l *Line) survey(ctx context.Context) error {
	p, asked := l.place, l.keeper.Elapsed()
	opts := []clientv3.OpOption{clientv3.WithPrefix()}
	if !l.rule.Values { // ours, and the next one if there is any
		opts = append(opts, clientv3.WithKeysOnly(), clientv3.WithLimit(2), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
	}
	var resp *clientv3.GetResponse
	err := l.request(ctx, func(ctx context.Context) (err error) {
		resp, err = l.keeper.KV().Get(ctx, l.prefix, opts...)
		return err
	})
	if err != nil || l.place != p || p.state != first {
		return err
	}
	entries, revision := entriesOf(resp.Kvs), resp.Header.Revision
	switch v, _ := l.rule.judge(revision, entries, p.entry); v {
	case gone:
		l.vanished(p)
		return nil
	case undecided:
		l.rewound(p, revision)
		return nil
	}
	l.others = report{p, asked, revision, no}
	if l.rule.Joins == nil && len(entries) > 1 || l.rule.Joins != nil && l.keptOut(entries) {
		l.others.answer = yes
	}
	return nil
}

// Silent is called by the stream when its silence means nothing any more.
func (v *view) Silent() {
	l := v.line
	l.keeper.Go(func(context.Context) { // the stream does not wait for the mutex
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.view == v {
			l.proceed()
		}
	})
}
