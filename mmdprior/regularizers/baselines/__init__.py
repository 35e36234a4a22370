"""Published penalties to compare with: VAEs, adversarial, sliced and covariance penalties, and RAE."""
