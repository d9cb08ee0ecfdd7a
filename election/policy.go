package election

import (
	"context"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/internal/queue"
)

// policy is a mutex's, but for those who step aside while they wait.
func (e *Election) policy(value string) queue.Policy {
	r := queue.Mutex
	r.Value, r.Suffix, r.Whole = value, keyspace.PrioritySuffix(e.opts.priority), true
	var named naming
	r.Yields = func(entries []queue.Entry, mine queue.Entry) queue.Yielding {
		to, mark, ok := transfer(e.prefix, entries)
		named.see(entries, mine, ok && to.Key == mine.Key)
		if ok && to.Key == mine.Key && string(mark.Value) == markNamed && named.answered != mark.Mod {
			named.answered = mark.Mod
			e.answer(mark, mine)
		}
		switch {
		case ok && mine.Create < to.Create:
			return queue.YieldsNow
		case ok || named.mine == mine.Create:
			return queue.Stays
		}
		return yields(e.prefix, entries, mine)
	}
	return r
}

// naming remembers that the leader has named us to be next: from then on we do not step aside, also when the leader and
// its mark are gone.
type naming struct {
	leader, mine int64 // create revisions
	answered     int64 // mod revision of the mark that was
}

// The values of a mark: the leader has named a candidate, and that has answered.
const (
	markNamed    = ""
	markAnswered = "here"
)

// answer shows the leader who has named us that we are alive.
func (e *Election) answer(mark, mine queue.Entry) {
	e.keeper.Go(func(ctx context.Context) {
		for range 3 {
			try, cancel := context.WithTimeout(ctx, e.keeper.RequestTimeout())
			_, err := e.keeper.KV().Txn(try).
				If(clientv3.Compare(clientv3.ModRevision(mark.Key), "=", mark.Mod), clientv3.Compare(clientv3.CreateRevision(mine.Key), "=", mine.Create)).
				Then(clientv3.OpPut(mark.Key, markAnswered, clientv3.WithIgnoreLease())).Commit()
			cancel()
			if err == nil || ctx.Err() != nil {
				return
			}
			e.keeper.Log.Debug("the leader that has named us was not answered", "election", e.name, "error", err)
			etcd.Sleep(ctx, etcd.Jitter(100*time.Millisecond))
		}
	})
}

func (n *naming) see(entries []queue.Entry, mine queue.Entry, named bool) {
	leader := mine.Create
	for _, e := range entries {
		leader = min(leader, e.Create)
	}
	switch {
	case named:
		n.leader, n.mine = leader, mine.Create
	case leader == n.leader: // it has thought better of it
		n.mine = 0
	}
}

// transfer is the candidate whom the leader has named to be next, if it stands, and the mark that names it.
func transfer(prefix string, entries []queue.Entry) (to, mark queue.Entry, ok bool) {
	for _, e := range entries {
		key, ok := keyspace.Transferred(prefix, e.Key)
		if !ok {
			continue
		}
		for _, candidate := range entries {
			if candidate.Key == key && candidate.Create < e.Mod { // and not another of that key, later
				return candidate, e, true
			}
		}
	}
	return to, mark, false
}

// yields says whether mine steps aside for one behind it with a larger priority. Whoever would lead next does so at once. Else those step
// aside one after the other, the highest first, so that each does it once, and they stand in order then. Who leads already, or does not know
// of priorities, does not.
func yields(prefix string, entries []queue.Entry, mine queue.Entry) queue.Yielding {
	line := candidates(prefix, entries)
	me := slices.IndexFunc(line, func(e queue.Entry) bool { return e.Key == mine.Key })
	if me < 0 {
		return queue.Stays
	}
	priority := keyspace.Priority(mine.Key)
	var behind, first int // the highest priority behind the one that is looked at; of those who have to step aside before mine, how many
	outranked := false
	for i, e := range slices.Backward(line) {
		p := keyspace.Priority(e.Key)
		_, _, ours := keyspace.ParseEntry(strings.TrimPrefix(e.Key, prefix))
		switch isOutranked := i < len(line)-1 && p < behind; {
		case i == me:
			outranked = isOutranked
		case isOutranked && ours && i > 0 && (p > priority || p == priority && i < me):
			first++
		}
		if i == len(line)-1 || p > behind {
			behind = p
		}
	}
	switch {
	case !outranked:
		return queue.Stays
	case me == 0:
		return queue.YieldsNow
	case first > 0:
		return queue.YieldsSoon
	}
	return queue.YieldsNext
}

// candidates are the entries but for marks, in order.
func candidates(prefix string, entries []queue.Entry) (line []queue.Entry) {
	for _, e := range entries {
		if _, isTransfer := keyspace.Transferred(prefix, e.Key); !isTransfer {
			line = append(line, e)
		}
	}
	queue.InOrder(line)
	return line
}

// next is who leads after leader: the first of those behind it. The entries are in any order.
func next(prefix string, entries []queue.Entry, leader queue.Entry) (queue.Entry, bool) {
	var first queue.Entry
	for _, e := range entries {
		if _, isTransfer := keyspace.Transferred(prefix, e.Key); isTransfer || e.Create <= leader.Create {
			continue
		}
		if first.Key == "" || e.Create < first.Create {
			first = e
		}
	}
	return first, first.Key != ""
}
