package doctor

import "fmt"

// fault is one of etcd that matters here, and in which releases it was mended: from these on, of each minor version.
type fault struct {
	text  string
	fixed [][3]int
}

var faults = []fault{
	{"a former leader may end leases that were renewed, so that a lock is lost early (etcd issue 15247)", [][3]int{{3, 4, 31}, {3, 5, 13}, {3, 6, 0}}},
	{"it may renew a lease that was revoked (etcd pull request 20615)", [][3]int{{3, 5, 23}, {3, 6, 5}, {3, 7, 0}}},
	{"after a pause of a member a linearizable read may be old (etcd issue 20418)", [][3]int{{3, 5, 28}, {3, 6, 9}, {3, 7, 0}}},
	{"whoever may attach keys to a lease may write what its role does not allow (CVE-2026-44283)", [][3]int{{3, 5, 30}, {3, 6, 11}, {3, 7, 0}}},
}

// faultsOf are those of a version. Of one that cannot be read nothing is known.
func faultsOf(version string) (known []string) {
	var v [3]int
	if n, err := fmt.Sscanf(version, "%d.%d.%d", &v[0], &v[1], &v[2]); n != 3 || err != nil {
		return nil
	}
	for _, f := range faults {
		if !f.isFixed(v) {
			known = append(known, f.text)
		}
	}
	return known
}

func (f fault) isFixed(v [3]int) bool {
	last := f.fixed[len(f.fixed)-1]
	if v[0] != last[0] || v[1] > last[1] {
		return v[0] >= last[0]
	}
	for _, r := range f.fixed {
		if v[1] == r[1] {
			return v[2] >= r[2]
		}
	}
	return false // a minor version that was not mended any more
}
