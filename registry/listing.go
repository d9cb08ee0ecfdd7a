package registry

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
)

// listing is what is shown of a service. It is never written to.
type listing struct {
	entries []Entry // sorted by ID
	picks   []pick
}

// pick is an instance that may be picked, with the sum of the weights up to it.
type pick struct {
	at  int32
	sum int64
}

// newListing lists whom to pick from: those that are Up. Stale ones only if there are no others, and other zones only
// if nobody is in this one.
func newListing(entries []Entry, zone string) *listing {
	l := &listing{entries: entries}
	best, sum := 0, int64(0)
	for i, e := range entries {
		rank := rankOf(e, zone)
		if rank > best {
			best, sum, l.picks = rank, 0, l.picks[:0]
		}
		if rank == best && rank > 0 {
			sum += int64(e.Weight)
			l.picks = append(l.picks, pick{int32(i), sum})
		}
	}
	l.picks = slices.Clip(l.picks)
	return l
}

func rankOf(e Entry, zone string) int {
	rank := 1
	if e.Status != Up {
		return 0
	}
	if zone != "" && e.Zone == zone {
		rank++
	}
	if !e.Stale {
		rank += 2
	}
	return rank
}

// Pick is one of those who are Up, at random, by weight; of this process's zone, if InZone says which that is, as long
// as anybody there is Up. Stale ones are picked only when there are no others. ErrNoInstance: there is nobody.
func (d *Directory) Pick(ctx context.Context, service string) (Instance, error) {
	l, err := d.listing(ctx, service)
	switch {
	case err != nil:
		return Instance{}, err
	case l == nil:
		return Instance{}, fmt.Errorf("%w of %q", ErrNoInstance, service)
	case len(l.picks) == 0:
		return Instance{}, fmt.Errorf("%w of %q is up, of %d", ErrNoInstance, service, len(l.entries))
	}
	return l.entries[l.picks[l.draw()].at].Instance, nil
}

func (l *listing) draw() int {
	r := rand.Int64N(l.picks[len(l.picks)-1].sum)
	i, _ := slices.BinarySearchFunc(l.picks, r+1, func(p pick, r int64) int { return cmp.Compare(p.sum, r) })
	return i
}
