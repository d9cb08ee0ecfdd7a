// Package queue says who is ahead in a line, and who may enter. All of it is pure: entries in, verdicts out.
//
// A line is the entries under one prefix in etcd, in order of their create revision. A primitive is a Policy: it says which of the entries
// ahead of one's own has to leave first. A mutex waits for the nearest, a reader for the nearest writer.
//
// New entries get larger revisions. So the entries ahead of mine, once I stand in line, only become fewer, and any read or event stream that
// is at or past my own revision and shows the policy satisfied proves it for ever. Staleness can delay a grant; it cannot make a wrong one.
package queue
