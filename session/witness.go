package session

import (
	"crypto/rand"
	"os"

	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/witness"
)

// witnessTold is what tells a witness of the Session's leases, and the secret that it shows; nil: nobody is told.
func (o *options) witnessTold() (keeper.Witness, string) {
	path := os.Getenv(witness.Variable)
	if o.witness != nil {
		path = *o.witness
	}
	if path == "" {
		return nil, ""
	}
	secret := rand.Text()
	t, err := witness.NewTeller(path, o.namespace, secret, o.log)
	if err != nil {
		o.log.Warn("no witness is told", "witness", path, "error", err)
		return nil, ""
	}
	return t, secret
}
