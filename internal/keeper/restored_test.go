package keeper

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestEpochIsLostWhenTheQuorumHasGoneBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, ttl)
		e := r.Current()
		held := r.hold(e)
		e.Saw(200)
		r.etcd.at(5, 5)
		time.Sleep(ttl/3 + time.Second)
		synctest.Wait()
		if cause, at := held.told(); !errors.Is(cause, ErrRestored) || !errors.Is(cause, ErrLost) || at > ttl/3+time.Second {
			t.Errorf("told of %v after %v", cause, at)
		}
		if next := r.Current(); next == nil || next == e || next.Seen() > 7 {
			t.Error("no new lease, or it remembers what etcd has forgotten")
		}
	})
}

func TestMemberThatLagsIsNoLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, ttl)
		e := r.Current()
		e.Saw(200)
		r.etcd.at(5, 200)
		time.Sleep(3 * ttl)
		synctest.Wait()
		if err := e.Err(); err != nil {
			t.Error(err)
		}
	})
}
