package invalidate

import "math"

// Bound returns the upper bound, at 95 % and on one side, of the share that violations have, when so many were found
// among so many that were checked: with none, -ln(0.05)/checked, which is about 3/checked; else the bound of Clopper
// and Pearson. Without a check nothing is known, and the bound is 1. It holds if the checks are independent of each other:
// many looks at one key are worth less.
func Bound(violations, checked int64) float64 {
	const chance = 0.05
	switch {
	case checked <= 0 || violations >= checked:
		return 1
	case violations <= 0:
		return min(1, -math.Log(chance)/float64(checked))
	}
	// The share at which so few violations or fewer come by a chance of 5 %: P(X ≤ k) = 1 - I_p(k+1, n-k).
	low, high := float64(violations)/float64(checked), 1.0
	for range 100 {
		share := (low + high) / 2
		if share == low || share == high {
			break
		}
		if 1-incompleteBeta(float64(violations+1), float64(checked-violations), share) > chance {
			low = share
		} else {
			high = share
		}
	}
	return high
}

// incompleteBeta is the regularized incomplete beta function I_x(a, b), by its continued fraction in the way of
// Lentz (DLMF 8.17.22).
func incompleteBeta(a, b, x float64) float64 {
	if x > (a+1)/(a+b+2) { // where it converges faster
		return 1 - incompleteBeta(b, a, 1-x)
	}
	const tiny, enough, most = 1e-300, 1e-13, 100_000
	ga, _ := math.Lgamma(a)
	gb, _ := math.Lgamma(b)
	gab, _ := math.Lgamma(a + b)
	front := math.Exp(gab-ga-gb+a*math.Log(x)+b*math.Log1p(-x)) / a
	c, d, f := 1.0, 0.0, 1.0
	for i := range most {
		m := float64(i / 2)
		term := 1.0
		switch {
		case i == 0:
		case i%2 == 0:
			term = m * (b - m) * x / ((a + 2*m - 1) * (a + 2*m))
		default:
			term = -(a + m) * (a + b + m) * x / ((a + 2*m) * (a + 2*m + 1))
		}
		if d = 1 + term*d; math.Abs(d) < tiny {
			d = tiny
		}
		if c = 1 + term/c; math.Abs(c) < tiny {
			c = tiny
		}
		d = 1 / d
		f *= c * d
		if math.Abs(1-c*d) < enough {
			break
		}
	}
	return front * (f - 1)
}
