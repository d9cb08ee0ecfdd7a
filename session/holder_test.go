package session_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/fenceline/fenceline/session"
)

func TestHolderSaysWhoItIsAndHowItIsInTheWay(t *testing.T) {
	server := session.Record{Name: "report-server", Host: "a1", PID: 4711}
	for want, h := range map[string]session.Holder{
		"held by report-server on host a1 (pid 4711)":                                  {Record: server, Key: "k"},
		"held by report-server (pid 4711)":                                             {Record: session.Record{Name: "report-server", PID: 4711}, Key: "k"},
		`report-server on host a1 (pid 4711) is ahead, and waits for "b"`:              {Record: server, Key: "k", Standing: session.Waits, WaitsFor: "b"},
		"report-server on host a1 (pid 4711) is ahead, and waits too":                  {Record: server, Key: "k", Standing: session.Waits},
		"kept for the rest of the minimum hold of report-server on host a1 (pid 4711)": {Record: server, Key: "k", Standing: session.Kept},
		"kept for the rest of the minimum hold of a session that has ended":            {Key: "k", Standing: session.Kept},
		`held by an unknown client (key "k", lease 1f)`:                                {Key: "k", Lease: 0x1f},
		`held by an unknown client (key "k", no lease)`:                                {Key: "k"},
		"held by another goroutine of this process":                                    {Record: server, Key: "k", Here: true},
		"held by somebody else":                                                        {},
		`held by "a\x1b[31mb" on host a1 (pid 1)`:                                      {Record: session.Record{Name: "a\x1b[31mb", Host: "a1", PID: 1}, Key: "k"},
		"held by " + strings.Repeat("é", 64) + "… on host a1 (pid 1)":                  {Record: session.Record{Name: strings.Repeat("é", 999), Host: "a1", PID: 1}, Key: "k"},
	} {
		if got := h.Describe(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestWaitErrorIsTheCauseOfTheWaitsEnd(t *testing.T) {
	err := error(&session.WaitError{Name: "n", Err: context.DeadlineExceeded,
		Holder: session.Holder{Record: session.Record{Name: "report-server", Host: "a1", PID: 4711}, Key: "k"}})
	if want := "context deadline exceeded: behind report-server on host a1 (pid 4711)"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, session.ErrLost) {
		t.Error("it is not its cause, or another")
	}
}
