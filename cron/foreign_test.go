package cron

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/fenceline/fenceline/internal/etcdtest"
)

func TestRecordWithForeignNumbersStopsNoJob(t *testing.T) {
	t.Parallel()
	client := etcdtest.Shared(t).Client(t)
	at := time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)
	for i, open := range []string{
		`{"scheduled":%q,"attempt":1,"failed":"x"}`,
		`{"scheduled":%q,"attempt":-5,"retries":-3}`,
		`{"scheduled":%q,"attempt":1,"claim":"c","slot":-1}`,
		`{"scheduled":%q,"attempt":1,"claim":"c","slot":999999999}`,
	} {
		name := etcdtest.Name(t)
		record := fmt.Sprintf(`{"schedule":"@every 1s","zone":"UTC","last":%q,"runs":-9,"open":[`+open+`]}`, at, at)
		if _, err := client.Put(t.Context(), "fenceline/cron/"+name+"/record", record); err != nil {
			t.Fatal(err)
		}
		s := process(t, client, 0)
		ran := make(chan struct{}, 100)
		add(t, s, name, "@every 1s", func(context.Context, Tick) error { ran <- struct{}{}; return nil })
		stop := run(t, s)
		for range 2 {
			select {
			case <-ran:
			case <-time.After(20 * time.Second):
				t.Fatalf("record %d: the job does not run", i)
			}
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
}

func TestRunWhoseClaimIsGoneBeforeItBeginsDoesNotBegin(t *testing.T) {
	t.Parallel()
	s := process(t, etcdtest.Shared(t).Client(t), 0)
	ran := make(chan error, 1)
	add(t, s, etcdtest.Name(t), "@daily", func(ctx context.Context, _ Tick) error { ran <- ctx.Err(); return nil })
	var j *job
	for _, j = range s.jobs {
	}
	e := s.keeper.Current()
	e.Gone()
	j.begin(t.Context(), e, open{Scheduled: time.Now(), Attempt: 1, Claim: s.claimID()}, 1, false)
	eventually(t, "the end of it", func() bool {
		j.mu.Lock()
		defer j.mu.Unlock()
		return len(j.running) == 0
	})
	select {
	case err := <-ran:
		t.Errorf("it began: %v", err)
	default:
	}
}
