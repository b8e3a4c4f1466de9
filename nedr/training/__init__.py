"""Training, checking and publishing weights: photographs and a configuration go in; checkpoints, published
weights and ablation tables come out. Imports `evaluation` (for validation), `inference`, `model`, `pictures`
and `errors`.
"""
