package invalidate

import "math"

// Bound returns the one-sided upper bound, at 95 % confidence, of the true share of violations, given how many were
// found among the checked keys. Without violations it is -ln(0.05)/checked, about 3/checked; otherwise it is the bound
// of Clopper and Pearson. It is 1 if nothing was checked. The bound assumes independent checks: many checks of one key
// are worth less.
func Bound(violations, checked int64) float64 {
	const chance = 0.05
	switch {
	case checked <= 0 || violations >= checked:
		return 1
	case violations <= 0:
		return min(1, -math.Log(chance)/float64(checked))
	}
	// Bisect for the share p at which at most k violations occur with a probability of 5 %: P(X ≤ k) = 1 - I_p(k+1,
	// n-k).
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

// incompleteBeta returns the regularized incomplete beta function I_x(a, b), by the continued fraction of DLMF 8.17.22
// evaluated with Lentz's algorithm.
func incompleteBeta(a, b, x float64) float64 {
	if x > (a+1)/(a+b+2) { // the fraction converges faster for the complement
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
