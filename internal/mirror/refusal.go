package mirror

import "github.com/fenceline/fenceline/internal/etcd"

// Refusal keeps what a reader is to be told once: that etcd refuses to be read. It is not safe for concurrent use.
type Refusal struct {
	untold error
	text   string // of the last one, until it is over
}

// Note takes a trouble, which is a refusal or not.
func (r *Refusal) Note(err error) {
	if etcd.Final(err) && err.Error() != r.text {
		r.untold, r.text = err, err.Error()
	}
}

// Over says that etcd could be read.
func (r *Refusal) Over() { r.untold, r.text = nil, "" }

// Take is a refusal that was not told yet; nil: there is none.
func (r *Refusal) Take() error {
	err := r.untold
	r.untold = nil
	return err
}
