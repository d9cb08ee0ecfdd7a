package session_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

func ExampleOpen() {
	client := etcdtest.Connect() // clientv3.New(clientv3.Config{Endpoints: …})
	defer client.Close()
	ctx := context.Background()
	s, err := session.Open(ctx, client, session.WithTTL(10*time.Second), session.WithName("indexer"))
	if err != nil {
		log.Fatal(err) // cannot reach etcd at …, and why
	}
	fmt.Println(s.State())
	if err := s.Close(ctx); err != nil {
		log.Print(err) // others wait for up to one TTL
	}
	fmt.Println(s.State())
	// Output:
	// live
	// closed
}

// A lease that is lost takes with it what was held; the Session goes on with the next.
func ExampleTrace() {
	client := etcdtest.Connect()
	defer client.Close()
	ctx := context.Background()
	changed := make(chan session.State, 4)
	s, err := session.Open(ctx, client, session.WithTTL(4*time.Second), session.WithTrace(&session.Trace{
		StateChanged: func(from, to session.State, cause error) {
			fmt.Println(from, "→", to, "because of", cause)
			changed <- to
		},
	}))
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close(ctx)
	<-changed

	client.Revoke(ctx, s.Lease()) // as an operator might
	for <-changed != session.Live {
	}
	// Output:
	// down → live because of <nil>
	// live → down because of session: lease does not exist any more
	// down → live because of <nil>
	// live → closed because of session: closed
}

func ExampleSession_Healthy() {
	client := etcdtest.Connect()
	defer client.Close()
	ctx := context.Background()
	s, err := session.Open(ctx, client)
	if err != nil {
		log.Fatal(err)
	}
	healthz := func(w http.ResponseWriter, r *http.Request) {
		if err := s.Healthy(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	}
	ask := func() int {
		w := httptest.NewRecorder()
		healthz(w, httptest.NewRequest(http.MethodGet, "/healthz", nil))
		return w.Code
	}
	fmt.Println(ask())
	s.Close(ctx)
	fmt.Println(ask())
	// Output:
	// 200
	// 503
}
