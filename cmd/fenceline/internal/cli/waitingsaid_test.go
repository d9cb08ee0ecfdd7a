package cli

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/underhold"
)

// saidDuring is what is said in a wait of that length, and when, if look answers these in turn, each second another.
func saidDuring(t *testing.T, wait time.Duration, talks bool, looks ...string) (said []string, spoke bool) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		h := &underhold.Holder{Talks: talks, Say: func(format string, args ...any) {
			said = append(said, fmt.Sprintf("%v ", time.Since(began))+fmt.Sprintf(format, args...))
		}}
		look := func(context.Context) string { return looks[min(int(time.Since(began).Seconds()), len(looks)-1)] }
		spoke, _ = h.Patiently(t.Context(), look, func(context.Context) error {
			time.Sleep(wait)
			return nil
		})
	})
	return said, spoke
}

func TestWaitIsSpokenOfOnceAndAgainWhenItHasChanged(t *testing.T) {
	for name, c := range map[string]struct {
		wait  time.Duration
		talks bool
		looks []string
		said  []string
	}{
		"a short wait":             {400 * time.Millisecond, true, []string{"a"}, nil},
		"nobody wants to know":     {time.Minute, false, []string{"a"}, nil},
		"nothing changes":          {time.Minute, true, []string{"a"}, []string{"500ms waiting: a"}},
		"it changes":               {5 * time.Second, true, []string{"a", "a", "b"}, []string{"500ms waiting: a", "3.5s waiting: b"}},
		"it changes all the time":  {7 * time.Second, true, []string{"a", "b", "c", "d", "e", "f", "g"}, []string{"500ms waiting: a", "3.5s waiting: d", "6.5s waiting: g"}},
		"it is known later":        {5 * time.Second, true, []string{"", "a"}, []string{"500ms waiting", "3.5s waiting: a"}},
		"it is not known any more": {9 * time.Second, true, []string{"a", "", "", "", "a"}, []string{"500ms waiting: a"}},
	} {
		t.Run(name, func(t *testing.T) {
			said, spoke := saidDuring(t, c.wait, c.talks, c.looks...)
			if !slices.Equal(said, c.said) || spoke != (c.said != nil) {
				t.Errorf("said %q, want %q; spoke: %v", said, c.said, spoke)
			}
		})
	}
}

// An etcd that does not answer keeps nobody.
func TestLookThatHangsDoesNotDelayTheGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &underhold.Holder{Talks: true, Say: func(string, ...any) {}}
		began := time.Now()
		h.Patiently(t.Context(), func(ctx context.Context) string { <-ctx.Done(); return "" }, func(context.Context) error {
			time.Sleep(time.Second)
			return nil
		})
		if d := time.Since(began); d != time.Second {
			t.Errorf("a wait of 1 s took %v", d)
		}
	})
}
