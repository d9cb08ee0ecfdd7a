// Package adapters holds the library to what it offers to other people's packages, with those packages themselves: real
// databases and their drivers, real schedulers. It is a module of tests, so that a user of the library gets none of them
// into their build.
package adapters
