package election_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

func TestEndedCampaignSaysWhoLeads(t *testing.T) {
	m := etcdtest.Shared(t)
	name := etcdtest.Name(t)
	term := campaign(t, election.New(open(t, m.Client(t), session.WithName("scheduler")), name), "leader")
	mine := election.New(open(t, m.Client(t)), name)
	var waited *session.WaitError
	for patience := time.Second; waited == nil && patience < time.Minute; patience *= 2 {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		_, err := mine.Campaign(ctx, "candidate")
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, session.ErrLost) {
			t.Fatalf("the wait ended with %v", err)
		}
		errors.As(err, &waited)
		t.Log(err)
	}
	if waited == nil || waited.Name != name || waited.Holder.Record.Name != "scheduler" || waited.Holder.Here || waited.Holder.Key != term.Key() {
		t.Errorf("%+v", waited)
	}
	if err := term.Resign(t.Context()); err != nil {
		t.Error(err)
	}
}
