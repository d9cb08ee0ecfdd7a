// Package election is a lock whose holder says something: its value is what everyone else reads.
//
// # What it promises
//
// Campaign ends in exactly one of a Term that etcd confirms, or an error and no candidacy left behind. The leader is
// the candidate with the smallest create revision. Terms do not overlap as far as their Contexts tell, under the
// assumptions of package session; their tokens grow, and an etcd transaction with Guard in its If commits only while
// that very term stands: these two rest on etcd alone. First come, first served, but for priorities and transfers,
// and for nobody who leads already.
//
// # What it does not
//
// That the old leader has stopped when the next one starts, if the old one does not look at its ctx: a process that
// was stopped may wake up late. What must not be done twice belongs behind a fence.
//
// # To lead
//
// Most services want Lead: it campaigns, runs a function while this process leads, and campaigns again whenever the
// term was lost.
//
//	err := election.New(s, "reports").Lead(ctx, hostname, func(ctx context.Context, t *election.Term) error {
//		return serve(ctx) // until ctx ends: with the term, or because we are asked to stop
//	})
//
// # To look on
//
// Current, Candidates and Observe need no Session, only a client.
package election
