package election_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/fenceline/fenceline/internal/etcdtest"
)

// rpcLeader is what etcd's election service calls a LeaderKey, in its JSON form.
type rpcLeader struct {
	Name  []byte `json:"name"`
	Key   []byte `json:"key"`
	Rev   int64  `json:"rev,string"`
	Lease int64  `json:"lease,string"`
}

type rpcKV struct {
	Key    []byte `json:"key"`
	Value  []byte `json:"value"`
	Create int64  `json:"create_revision,string"`
}

// request is a call of etcd's own election service through its JSON gateway.
func request(ctx context.Context, server *etcdtest.Member, method string, in any) (*http.Response, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, server.Endpoint()+"/v3/election/"+method, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	return http.DefaultClient.Do(req)
}

func rpc(t *testing.T, server *etcdtest.Member, method string, in, out any) error {
	resp, err := request(t.Context(), server, method, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(string(text))
	}
	return json.Unmarshal(text, out)
}

func TestEtcdsElectionServiceStandsInTheSameLine(t *testing.T) {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	server, prefix := etcdtest.Shared(t), etcdtest.Name(t)
	client := server.Client(t)
	grant, err := client.Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	o := observe(t, client, prefix)
	o.want("")
	term := campaign(t, at(t, client, prefix), "ours")
	o.want("ours")

	var elected struct {
		Leader rpcLeader `json:"leader"`
	}
	done := make(chan error, 1)
	go func() {
		in := map[string]any{"name": []byte(prefix), "value": []byte("service"), "lease": int64(grant.ID)}
		done <- rpc(t, server, "campaign", in, &elected)
	}()
	nth(t, client, prefix, 2)
	notYet(t, done, "etcd's election service")
	resign(t, term)
	leads(t, done)
	l := o.want("service")
	if l.Key != string(elected.Leader.Key) || l.Token.Revision() != elected.Leader.Rev {
		t.Errorf("observed %+v, the service says %s at %d", l, elected.Leader.Key, elected.Leader.Rev)
	}

	next := queue(t, client, prefix, 2, at(t, client, prefix), "ours again")
	notYet(t, next, "ours")
	if err := rpc(t, server, "proclaim", map[string]any{"leader": elected.Leader, "value": []byte("louder")}, &struct{}{}); err != nil {
		t.Fatal(err)
	}
	o.want("louder")
	if err := rpc(t, server, "resign", map[string]any{"leader": elected.Leader}, &struct{}{}); err != nil {
		t.Fatal(err)
	}
	resign(t, <-next)
}

func TestEtcdsElectionServiceShowsOurLeader(t *testing.T) {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	server, prefix := etcdtest.Shared(t), etcdtest.Name(t)
	client := server.Client(t)
	name := map[string]any{"name": []byte(prefix)}
	var got struct {
		KV rpcKV `json:"kv"`
	}
	if err := rpc(t, server, "leader", name, &got); err == nil {
		t.Errorf("the service shows %+v with nobody there", got)
	}
	term := campaign(t, at(t, client, prefix), "ours")
	if err := rpc(t, server, "leader", name, &got); err != nil {
		t.Fatal(err)
	}
	if string(got.KV.Key) != term.Key() || string(got.KV.Value) != "ours" || got.KV.Create != term.Token().Revision() {
		t.Errorf("the service shows %+v, want %s at %d", got.KV, term.Key(), term.Token())
	}

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	resp, err := request(ctx, server, "observe", name)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	stream := json.NewDecoder(resp.Body)
	sees := func(value string) {
		t.Helper()
		var event struct {
			Result struct {
				KV rpcKV `json:"kv"`
			} `json:"result"`
		}
		if err := stream.Decode(&event); err != nil {
			t.Fatal(err)
		}
		if kv := event.Result.KV; string(kv.Value) != value || string(kv.Key) != term.Key() {
			t.Errorf("the service observes %s with %q, want %s with %q", kv.Key, kv.Value, term.Key(), value)
		}
	}
	sees("ours")
	if err := term.Proclaim(t.Context(), "changed"); err != nil {
		t.Fatal(err)
	}
	sees("changed")
}
