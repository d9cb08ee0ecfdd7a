package election_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/internal/etcdtest"
)

// BenchmarkAscendingPriorities is of candidates that come one after the other, each more important than all before. It counts writes until
// they stand in order, and the time from the end of a term to the next.
func BenchmarkAscendingPriorities(b *testing.B) {
	for _, n := range []int{8, 40} {
		b.Run(fmt.Sprintf("%d", n), func(b *testing.B) {
			client := etcdtest.Shared(b).Client(b)
			for range b.N {
				name := etcdtest.Name(b)
				first := campaign(b, election.New(open(b, client), name), "leads")
				var elections []*election.Election
				for i := range n {
					elections = append(elections, election.New(open(b, client), name, election.WithPriority(i+1)))
				}
				before := revision(b, client)
				var got []<-chan *election.Term
				want := []string{"leads"}
				for i, e := range elections {
					got = append(got, campaigning(b, client, name, e, fmt.Sprint(i)))
				}
				for i := range n {
					want = append(want, fmt.Sprint(n-1-i))
				}
				stands(b, client, name, want...)
				b.ReportMetric(float64(revision(b, client)-before), "writes")
				began := time.Now()
				resign(b, first)
				term := <-got[n-1]
				b.ReportMetric(float64(time.Since(began).Microseconds())/1000, "ms-to-the-next")
				resign(b, term)
			}
		})
	}
}
