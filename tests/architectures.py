"""Well-known architectures at small size, in the idioms of real user code: what any converter of networks meets.

Each builds from (in_channels, num_outputs). Long because it is a table of networks: a class for each, the table last.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

NUM_OUTPUTS = 3


@dataclass(frozen=True)
class Architecture:
    """One network and the sizes to try it at.

    Attributes:
        name: For the test's id.
        build: The network of (in_channels, num_outputs).
        in_channels: Channels of its input.
        sides: Input size at which equation (4) of the method's page holds at every strided window.
        breaking_sides: One at which it fails somewhere; None for a network without a strided window.
        dense: Whether the output is an image, which turns with the input, or a vector, which stays.
        group: A group that fits the number of axes, by name.
    """

    name: str
    build: Callable[[int, int], nn.Module]
    in_channels: int
    sides: tuple[int, ...]
    breaking_sides: tuple[int, ...] | None
    dense: bool = False
    group: str = "D4"

    def model(self):
        return self.build(self.in_channels, NUM_OUTPUTS)

    def example(self, batch=2, *, breaking=False, dtype=torch.float32):
        sides = self.breaking_sides if breaking else self.sides
        return torch.randn(batch, self.in_channels, *sides, dtype=dtype)


class VGG(nn.Module):
    def __init__(self, in_channels, num_outputs, plan=(16, "M", 32, "M", 32, 32)):
        super().__init__()
        layers = []
        for width in plan:
            if width == "M":
                layers += [nn.MaxPool2d(kernel_size=2, stride=2)]
            else:
                conv2d = nn.Conv2d(in_channels, width, kernel_size=3, padding=1)
                layers += [conv2d, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
                in_channels = width
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((2, 2))
        self.classifier = nn.Sequential(
            nn.Linear(in_channels * 2 * 2, 48),
            nn.ReLU(True),
            nn.Dropout(p=0.3),
            nn.Linear(48, 48),
            nn.ReLU(True),
            nn.Dropout(p=0.3),
            nn.Linear(48, num_outputs),
        )

    def forward(self, x):
        x = self.features(x)
        x = self.avgpool(x)
        x = torch.flatten(x, 1)
        return self.classifier(x)


class LeNet(nn.Module):
    """The first network of many tutorials: six channels, no padding, no adaptive pooling before the flattening."""

    def __init__(self, in_channels, num_outputs):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 6, 5)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 2 * 2, 60)
        self.fc2 = nn.Linear(60, 42)
        self.fc3 = nn.Linear(42, num_outputs)

    def forward(self, x):
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x)))
        x = torch.flatten(x, 1)
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.fc3(x)


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, in_planes, planes, stride=1, downsample=None, groups=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = downsample

    def forward(self, x):
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class Bottleneck(nn.Module):
    """The three-layer block, of ResNeXt where its middle convolution is grouped."""

    expansion = 4

    def __init__(self, in_planes, planes, stride=1, downsample=None, groups=1):
        super().__init__()
        width = planes * groups
        self.conv1 = nn.Conv2d(in_planes, width, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, stride=stride, padding=1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, planes * self.expansion, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x):
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    """Any of the residual family; `deep_stem` is the one for large images, 7x7 with a pooling after it."""

    def __init__(self, in_channels, num_outputs, block=BasicBlock, planes=(16, 32, 48), groups=1, deep_stem=False):
        super().__init__()
        self.in_planes = 16
        self.groups = groups
        kernel, stride, padding = (7, 2, 3) if deep_stem else (3, 1, 1)
        self.conv1 = nn.Conv2d(in_channels, 16, kernel, stride=stride, padding=padding, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1) if deep_stem else nn.Identity()
        stages = [self._make_layer(block, width, 1 if place == 0 else 2) for place, width in enumerate(planes)]
        self.layers = nn.Sequential(*stages)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(planes[-1] * block.expansion, num_outputs)

    def _make_layer(self, block, planes, stride):
        downsample = None
        if stride != 1 or self.in_planes != planes * block.expansion:
            downsample = nn.Sequential(
                nn.Conv2d(self.in_planes, planes * block.expansion, kernel_size=1, stride=stride, bias=False),
                nn.BatchNorm2d(planes * block.expansion),
            )
        first = block(self.in_planes, planes, stride, downsample, self.groups)
        self.in_planes = planes * block.expansion
        return nn.Sequential(first)

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.maxpool(x)
        x = self.layers(x)
        x = self.avgpool(x)
        x = torch.flatten(x, 1)
        return self.fc(x)


def bottleneck_resnet(in_channels, num_outputs):
    return ResNet(in_channels, num_outputs, Bottleneck, planes=(8, 16), deep_stem=True)


def resnext(in_channels, num_outputs):
    return ResNet(in_channels, num_outputs, Bottleneck, planes=(8, 16), groups=4)


class PreActivation(nn.Module):
    def __init__(self, in_planes, out_planes, stride, drop_rate):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(in_planes, out_planes, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_planes)
        self.conv2 = nn.Conv2d(out_planes, out_planes, kernel_size=3, padding=1, bias=False)
        self.drop_rate = drop_rate
        self.equal = in_planes == out_planes
        self.shortcut = None if self.equal else nn.Conv2d(in_planes, out_planes, 1, stride=stride, bias=False)

    def forward(self, x):
        if not self.equal:
            x = self.relu(self.bn1(x))
            out = x
        else:
            out = self.relu(self.bn1(x))
        out = self.relu(self.bn2(self.conv1(out)))
        if self.drop_rate > 0:
            out = F.dropout(out, p=self.drop_rate, training=self.training)
        out = self.conv2(out)
        return torch.add(x if self.equal else self.shortcut(x), out)


class WideResNet(nn.Module):
    def __init__(self, in_channels, num_outputs):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 16, kernel_size=3, padding=1, bias=False)
        self.block1 = nn.Sequential(PreActivation(16, 32, 1, 0.1), PreActivation(32, 32, 1, 0.1))
        self.block2 = nn.Sequential(PreActivation(32, 48, 2, 0.1))
        self.bn1 = nn.BatchNorm2d(48)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(48, num_outputs)
        self.num_channels = 48

    def forward(self, x):
        out = self.block2(self.block1(self.conv1(x)))
        out = self.relu(self.bn1(out))
        out = F.avg_pool2d(out, out.shape[-1])
        out = out.view(-1, self.num_channels)
        return self.fc(out)


class DenseLayer(nn.Module):
    def __init__(self, in_channels, growth):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.relu = nn.ReLU(inplace=True)  # used twice
        self.conv1 = nn.Conv2d(in_channels, 2 * growth, kernel_size=1, bias=False)
        self.norm2 = nn.BatchNorm2d(2 * growth)
        self.conv2 = nn.Conv2d(2 * growth, growth, kernel_size=3, padding=1, bias=False)

    def forward(self, features):
        out = torch.cat(features, 1)
        out = self.conv1(self.relu(self.norm1(out)))
        return self.conv2(self.relu(self.norm2(out)))


class DenseBlock(nn.ModuleDict):
    def __init__(self, num_layers, in_channels, growth):
        super().__init__()
        for place in range(num_layers):
            self.add_module(f"denselayer{place + 1}", DenseLayer(in_channels + place * growth, growth))

    def forward(self, x):
        features = [x]
        for layer in self.values():
            features.append(layer(features))
        return torch.cat(features, 1)


class DenseNet(nn.Module):
    """Concatenations of twelve channels each, which eight does not divide."""

    def __init__(self, in_channels, num_outputs, growth=12):
        super().__init__()
        width = 16
        self.features = nn.Sequential()
        self.features.add_module("conv0", nn.Conv2d(in_channels, width, 3, padding=1, bias=False))
        for block in range(3):
            self.features.add_module(f"denseblock{block + 1}", DenseBlock(2, width, growth))
            width += 2 * growth
            if block < 2:
                transition = nn.Sequential(
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                    nn.Conv2d(width, width // 2, kernel_size=1, bias=False),
                    nn.AvgPool2d(kernel_size=2, stride=2),
                )
                self.features.add_module(f"transition{block + 1}", transition)
                width //= 2
        self.features.add_module("norm5", nn.BatchNorm2d(width))
        self.classifier = nn.Linear(width, num_outputs)

    def forward(self, x):
        features = self.features(x)
        out = F.relu(features, inplace=True)
        out = F.adaptive_avg_pool2d(out, (1, 1))
        out = torch.flatten(out, 1)
        return self.classifier(out)


class ConvNormActivation(nn.Sequential):
    def __init__(self, in_planes, out_planes, kernel=3, stride=1, groups=1, act=nn.ReLU6):
        super().__init__(
            nn.Conv2d(in_planes, out_planes, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
            nn.BatchNorm2d(out_planes),
            act(inplace=True) if act is not None else nn.Identity(),
        )


class InvertedResidual(nn.Module):
    def __init__(self, inp, oup, stride, expand):
        super().__init__()
        hidden = inp * expand
        self.use_res_connect = stride == 1 and inp == oup
        layers = [] if expand == 1 else [ConvNormActivation(inp, hidden, kernel=1)]
        layers += [
            ConvNormActivation(hidden, hidden, stride=stride, groups=hidden),
            nn.Conv2d(hidden, oup, 1, 1, 0, bias=False),
            nn.BatchNorm2d(oup),
        ]
        self.conv = nn.Sequential(*layers)

    def forward(self, x):
        if self.use_res_connect:
            return x + self.conv(x)
        return self.conv(x)


class MobileNetV2(nn.Module):
    def __init__(self, in_channels, num_outputs):
        super().__init__()
        features = [ConvNormActivation(in_channels, 16, stride=2)]
        width = 16
        for expand, planes, repeats, stride in ((1, 16, 1, 1), (3, 24, 2, 2), (3, 32, 1, 1)):
            for place in range(repeats):
                features.append(InvertedResidual(width, planes, stride if place == 0 else 1, expand))
                width = planes
        features.append(ConvNormActivation(width, 64, kernel=1))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(64, num_outputs))

    def forward(self, x):
        x = self.features(x)
        x = x.mean([2, 3])
        return self.classifier(x)


class SqueezeExcitation(nn.Module):
    def __init__(self, channels, squeeze_channels):
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeeze_channels, 1)
        self.activation = nn.ReLU()
        self.fc2 = nn.Conv2d(squeeze_channels, channels, 1)
        self.scale_activation = nn.Hardsigmoid()

    def forward(self, x):
        scale = self.avgpool(x)
        scale = self.activation(self.fc1(scale))
        return self.scale_activation(self.fc2(scale)) * x


class MobileNetV3Block(nn.Module):
    def __init__(self, inp, hidden, oup, kernel, stride):
        super().__init__()
        self.use_res_connect = stride == 1 and inp == oup
        self.block = nn.Sequential(
            ConvNormActivation(inp, hidden, kernel=1, act=nn.Hardswish),
            ConvNormActivation(hidden, hidden, kernel, stride, groups=hidden, act=nn.Hardswish),
            SqueezeExcitation(hidden, hidden // 4),
            ConvNormActivation(hidden, oup, kernel=1, act=None),
        )

    def forward(self, x):
        result = self.block(x)
        if self.use_res_connect:
            result += x
        return result


class MobileNetV3(nn.Module):
    """Widths of 12 and 20, which eight does not divide."""

    def __init__(self, in_channels, num_outputs):
        super().__init__()
        self.features = nn.Sequential(
            ConvNormActivation(in_channels, 12, stride=2, act=nn.Hardswish),
            MobileNetV3Block(12, 32, 12, kernel=3, stride=1),
            MobileNetV3Block(12, 44, 20, kernel=5, stride=2),
            MobileNetV3Block(20, 60, 20, kernel=5, stride=1),
            ConvNormActivation(20, 60, kernel=1, act=nn.Hardswish),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(60, 40), nn.Hardswish(inplace=True), nn.Dropout(p=0.2, inplace=True), nn.Linear(40, num_outputs)
        )

    def forward(self, x):
        x = self.features(x)
        x = self.avgpool(x)
        x = torch.flatten(x, 1)
        return self.classifier(x)


class DropPath(nn.Module):
    """Stochastic depth: leaves out the branch of some samples."""

    def __init__(self, drop_prob=0.1):
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x):
        if self.drop_prob == 0.0 or not self.training:
            return x
        keep_prob = 1 - self.drop_prob
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        random_tensor = x.new_empty(shape).bernoulli_(keep_prob)
        random_tensor.div_(keep_prob)
        return x * random_tensor


class SqueezeExcite(nn.Module):
    def __init__(self, in_chs, rd_chs):
        super().__init__()
        self.conv_reduce = nn.Conv2d(in_chs, rd_chs, 1, bias=True)
        self.act1 = nn.SiLU(inplace=True)
        self.conv_expand = nn.Conv2d(rd_chs, in_chs, 1, bias=True)

    def forward(self, x):
        x_se = x.mean((2, 3), keepdim=True)
        x_se = self.conv_expand(self.act1(self.conv_reduce(x_se)))
        return x * x_se.sigmoid()


class MBConv(nn.Module):
    def __init__(self, in_chs, out_chs, stride, kernel=3, expand=2, drop_path=0.1):
        super().__init__()
        mid_chs = in_chs * expand
        self.has_skip = in_chs == out_chs and stride == 1
        self.conv_pw = nn.Conv2d(in_chs, mid_chs, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(mid_chs, eps=1e-3)
        self.act1 = nn.SiLU(inplace=True)
        self.conv_dw = nn.Conv2d(mid_chs, mid_chs, kernel, stride, kernel // 2, groups=mid_chs, bias=False)
        self.bn2 = nn.BatchNorm2d(mid_chs, eps=1e-3)
        self.act2 = nn.SiLU(inplace=True)
        self.se = SqueezeExcite(mid_chs, in_chs // 2)
        self.conv_pwl = nn.Conv2d(mid_chs, out_chs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_chs, eps=1e-3)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x):
        shortcut = x
        x = self.act1(self.bn1(self.conv_pw(x)))
        x = self.act2(self.bn2(self.conv_dw(x)))
        x = self.se(x)
        x = self.bn3(self.conv_pwl(x))
        if self.has_skip:
            x = self.drop_path(x) + shortcut
        return x


class EfficientNet(nn.Module):
    def __init__(self, in_channels, num_outputs):
        super().__init__()
        self.conv_stem = nn.Conv2d(in_channels, 16, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16, eps=1e-3)
        self.act1 = nn.SiLU(inplace=True)
        self.blocks = nn.Sequential(
            nn.Sequential(MBConv(16, 16, 1)),
            nn.Sequential(MBConv(16, 24, 2, kernel=5), MBConv(24, 24, 1, kernel=5)),
        )
        self.conv_head = nn.Conv2d(24, 64, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(64, eps=1e-3)
        self.act2 = nn.SiLU(inplace=True)
        self.global_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1))
        self.drop_rate = 0.2
        self.classifier = nn.Linear(64, num_outputs)

    def forward_features(self, x):
        x = self.act1(self.bn1(self.conv_stem(x)))
        x = self.blocks(x)
        return self.act2(self.bn2(self.conv_head(x)))

    def forward(self, x):
        x = self.global_pool(self.forward_features(x))
        if self.drop_rate > 0.0:
            x = F.dropout(x, p=self.drop_rate, training=self.training)
        return self.classifier(x)


class SELayer(nn.Module):
    def __init__(self, channel, reduction=2):
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(
            nn.Linear(channel, channel // reduction, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(channel // reduction, channel, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x):
        b, c, _, _ = x.size()
        y = self.avg_pool(x).view(b, c)
        y = self.fc(y).view(b, c, 1, 1)
        return x * y.expand_as(x)


class SEBlock(nn.Module):
    def __init__(self, inplanes, planes, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.se = SELayer(planes)
        self.downsample = nn.Sequential()
        if stride != 1 or inplanes != planes:
            self.downsample = nn.Sequential(nn.Conv2d(inplanes, planes, 1, stride, bias=False), nn.BatchNorm2d(planes))

    def forward(self, x):
        residual = self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.se(self.bn2(self.conv2(out)))
        out += residual
        return self.relu(out)


class SENet(nn.Module):
    def __init__(self, in_channels, num_outputs):
        super().__init__()
        self.prep = nn.Sequential(nn.Conv2d(in_channels, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.layer1 = SEBlock(16, 16)
        self.layer2 = SEBlock(16, 32, stride=2)
        self.linear = nn.Linear(32, num_outputs)

    def forward(self, x):
        out = self.layer2(self.layer1(self.prep(x)))
        out = F.adaptive_avg_pool2d(out, 1)
        out = out.view(out.size(0), -1)
        return self.linear(out)


class LayerNorm2d(nn.LayerNorm):
    """Over the channels of an image whose channels are the second axis."""

    def forward(self, x):
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    def __init__(self, dim, drop_path=0.1, layer_scale_init_value=0.1):
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, kernel_size=7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1 = nn.Linear(dim, 4 * dim)
        self.act = nn.GELU()
        self.pwconv2 = nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(layer_scale_init_value * torch.ones(dim))
        self.drop_path = DropPath(drop_path)

    def forward(self, x):
        shortcut = x
        x = self.dwconv(x)
        x = x.permute(0, 2, 3, 1)  # (N, C, H, W) -> (N, H, W, C)
        x = self.norm(x)
        x = self.pwconv1(x)
        x = self.act(x)
        x = self.pwconv2(x)
        x = self.gamma * x
        x = x.permute(0, 3, 1, 2)
        return shortcut + self.drop_path(x)


class ConvNeXt(nn.Module):
    def __init__(self, in_channels, num_outputs, dims=(16, 32)):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, dims[0], kernel_size=2, stride=2), LayerNorm2d(dims[0], eps=1e-6)
        )
        self.stages = nn.ModuleList([nn.Sequential(ConvNeXtBlock(dim)) for dim in dims])
        self.downsample = nn.Sequential(
            LayerNorm2d(dims[0], eps=1e-6), nn.Conv2d(dims[0], dims[1], kernel_size=2, stride=2)
        )
        self.norm = nn.LayerNorm(dims[1], eps=1e-6)
        self.head = nn.Linear(dims[1], num_outputs)

    def forward(self, x):
        x = self.stages[0](self.stem(x))
        x = self.stages[1](self.downsample(x))
        return self.head(self.norm(x.mean([-2, -1])))


def double_conv(in_channels, out_channels):
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class Up(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, in_channels // 2, kernel_size=2, stride=2)
        self.conv = double_conv(in_channels, out_channels)

    def forward(self, x1, x2):
        x1 = self.up(x1)
        diff_y = x2.size()[2] - x1.size()[2]
        diff_x = x2.size()[3] - x1.size()[3]
        x1 = F.pad(x1, [diff_x // 2, diff_x - diff_x // 2, diff_y // 2, diff_y - diff_y // 2])
        x = torch.cat([x2, x1], dim=1)
        return self.conv(x)


class UNet(nn.Module):
    def __init__(self, in_channels, num_outputs):
        super().__init__()
        self.inc = double_conv(in_channels, 16)
        self.pool = nn.MaxPool2d(2)
        self.down1 = double_conv(16, 32)
        self.down2 = double_conv(32, 64)
        self.up1 = Up(64, 32)
        self.up2 = Up(32, 16)
        self.outc = nn.Conv2d(16, num_outputs, kernel_size=1)

    def forward(self, x):
        x1 = self.inc(x)
        x2 = self.down1(self.pool(x1))
        x3 = self.down2(self.pool(x2))
        x = self.up1(x3, x2)
        x = self.up2(x, x1)
        return self.outc(x)


class NormedConv(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm = nn.GroupNorm(2, out_channels)

    def forward(self, x):
        return F.silu(self.norm(self.conv(x)))


class BilinearUNet(nn.Module):
    def __init__(self, in_channels, num_outputs):
        super().__init__()
        self.encoder = nn.ModuleList([NormedConv(in_channels, 16), NormedConv(16, 32), NormedConv(32, 48)])
        self.decoder = nn.ModuleList([NormedConv(48 + 32, 32), NormedConv(32 + 16, 16)])
        self.head = nn.Conv2d(16, num_outputs, 1)

    def forward(self, x):
        skips = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
            if stage is not self.encoder[-1]:
                x = F.max_pool2d(x, 2)
        for stage, skip in zip(self.decoder, skips[-2::-1], strict=True):
            x = F.interpolate(x, size=skip.shape[2:], mode="bilinear", align_corners=False)
            x = stage(torch.cat([x, skip], dim=1))
        return self.head(x)


class DnCNN(nn.Module):
    """Predicts the noise, so it returns as many channels as it takes."""

    def __init__(self, in_channels, num_outputs, depth=4, features=24):
        super().__init__()
        assert in_channels == num_outputs
        layers = [nn.Conv2d(in_channels, features, 3, padding=1), nn.ReLU(inplace=True)]
        for _ in range(depth - 2):
            layers.append(nn.Conv2d(features, features, 3, padding=1, bias=False))
            layers.append(nn.BatchNorm2d(features, eps=1e-4, momentum=0.95))
            layers.append(nn.ReLU(inplace=True))
        layers.append(nn.Conv2d(features, num_outputs, 3, padding=1, bias=False))
        self.body = nn.Sequential(*layers)

    def forward(self, x):
        return x - self.body(x)


class AllConvolutional(nn.Module):
    def __init__(self, in_channels, num_outputs):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1, stride=2)
        self.conv3 = nn.Conv2d(16, 32, 3, padding=1)
        self.conv4 = nn.Conv2d(32, 32, 3, padding=1, stride=2)
        self.conv5 = nn.Conv2d(32, 32, 1)
        self.class_conv = nn.Conv2d(32, num_outputs, 1)

    def forward(self, x):
        x_drop = F.dropout(x, 0.2, training=self.training)
        conv1_out = F.relu(self.conv1(x_drop))
        conv2_out = F.relu(self.conv2(conv1_out))
        conv3_out = F.relu(self.conv3(conv2_out))
        conv4_out = F.relu(self.conv4(conv3_out))
        conv5_out = F.leaky_relu(self.conv5(conv4_out), 0.1)
        class_out = self.class_conv(conv5_out)
        pool_out = F.adaptive_avg_pool2d(class_out, 1)
        pool_out.squeeze_(-1)
        pool_out.squeeze_(-1)
        return pool_out


class ResnetBlock(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(dim, dim, kernel_size=3),
            nn.InstanceNorm2d(dim),
            nn.ReLU(True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(dim, dim, kernel_size=3),
            nn.InstanceNorm2d(dim),
        )

    def forward(self, x):
        return x + self.conv_block(x)


class Generator(nn.Module):
    """Image to image; its windows of 4 keep every second size even, and its way up is symmetric."""

    def __init__(self, in_channels, num_outputs, ngf=8):
        super().__init__()
        model = [
            nn.ReflectionPad2d(3),
            nn.Conv2d(in_channels, ngf, kernel_size=7),
            nn.InstanceNorm2d(ngf),
            nn.ReLU(True),
        ]
        for factor in (1, 2):
            model += [
                nn.Conv2d(ngf * factor, ngf * factor * 2, kernel_size=4, stride=2, padding=1),
                nn.InstanceNorm2d(ngf * factor * 2),
                nn.ReLU(True),
            ]
        model += [ResnetBlock(ngf * 4)]
        for factor in (4, 2):
            model += [
                nn.ConvTranspose2d(ngf * factor, ngf * factor // 2, kernel_size=4, stride=2, padding=1),
                nn.InstanceNorm2d(ngf * factor // 2),
                nn.ReLU(True),
            ]
        model += [nn.ReflectionPad2d(3), nn.Conv2d(ngf, num_outputs, kernel_size=7), nn.Tanh()]
        self.model = nn.Sequential(*model)

    def forward(self, input):
        return self.model(input)


class BasicBlock3d(nn.Module):
    def __init__(self, in_planes, planes, stride=1):
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.Conv3d(in_planes, planes, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm3d(planes),
            nn.ReLU(inplace=True),
        )
        self.conv2 = nn.Sequential(nn.Conv3d(planes, planes, 3, padding=1, bias=False), nn.BatchNorm3d(planes))
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Identity()
        if stride != 1 or in_planes != planes:
            self.downsample = nn.Sequential(
                nn.Conv3d(in_planes, planes, kernel_size=1, stride=stride, bias=False), nn.BatchNorm3d(planes)
            )

    def forward(self, x):
        return self.relu(self.conv2(self.conv1(x)) + self.downsample(x))


class ResNet3d(nn.Module):
    def __init__(self, in_channels, num_outputs):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv3d(in_channels, 8, 3, padding=1, bias=False), nn.BatchNorm3d(8), nn.ReLU())
        self.layer1 = BasicBlock3d(8, 8)
        self.layer2 = BasicBlock3d(8, 16, stride=2)
        self.avgpool = nn.AdaptiveAvgPool3d(1)
        self.fc = nn.Linear(16, num_outputs)

    def forward(self, x):
        x = self.layer2(self.layer1(self.stem(x)))
        return self.fc(self.avgpool(x).flatten(1))


class BasicBlock1d(nn.Module):
    def __init__(self, in_channels, out_channels, stride):
        super().__init__()
        self.conv1 = nn.Conv1d(in_channels, out_channels, 7, stride=stride, padding=3, bias=False)
        self.bn1 = nn.BatchNorm1d(out_channels)
        self.dropout = nn.Dropout(0.2)
        self.conv2 = nn.Conv1d(out_channels, out_channels, 5, padding=2, bias=False)
        self.bn2 = nn.BatchNorm1d(out_channels)
        self.shortcut = nn.Conv1d(in_channels, out_channels, 1, stride=stride) if stride > 1 else nn.Identity()

    def forward(self, x):
        out = self.dropout(F.relu(self.bn1(self.conv1(x))))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.shortcut(x))


class ResNet1d(nn.Module):
    def __init__(self, in_channels, num_outputs):
        super().__init__()
        self.conv1 = nn.Conv1d(in_channels, 16, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm1d(16)
        self.pool = nn.MaxPool1d(3, stride=2, padding=1)
        self.blocks = nn.Sequential(BasicBlock1d(16, 16, 1), BasicBlock1d(16, 32, 2))
        self.fc = nn.Linear(32, num_outputs)

    def forward(self, x):
        x = self.pool(torch.relu(self.bn1(self.conv1(x))))
        x = self.blocks(x)
        return self.fc(x.mean(dim=-1))


class Regression(nn.Module):
    def __init__(self, in_channels, num_outputs):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(in_channels, 16, 5, padding=2),
            nn.ELU(),
            nn.AvgPool2d(2),
            nn.Conv2d(16, 24, 3, padding=1),
            nn.ELU(),
            nn.AvgPool2d(2),
            nn.Conv2d(24, 32, 3, padding=1),
            nn.ELU(),
            nn.AdaptiveAvgPool2d(1),
        )
        self.fc1 = nn.Linear(32, 24)
        self.fc2 = nn.Linear(24, num_outputs)

    def forward(self, x):
        x = self.encoder(x)
        x = x.view(x.size(0), -1)
        x = F.elu(self.fc1(x))
        return self.fc2(x)


class ChannelAttention(nn.Module):
    def __init__(self, in_planes, ratio=2):
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.max_pool = nn.AdaptiveMaxPool2d(1)
        self.fc = nn.Sequential(  # used twice
            nn.Conv2d(in_planes, in_planes // ratio, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(in_planes // ratio, in_planes, 1, bias=False),
        )
        self.sigmoid = nn.Sigmoid()

    def forward(self, x):
        return self.sigmoid(self.fc(self.avg_pool(x)) + self.fc(self.max_pool(x)))


class SpatialAttention(nn.Module):
    def __init__(self, kernel_size=7):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x):
        avg_out = torch.mean(x, dim=1, keepdim=True)
        max_out, _ = torch.max(x, dim=1, keepdim=True)
        x = torch.cat([avg_out, max_out], dim=1)
        return self.sigmoid(self.conv1(x))


class CBAM(nn.Module):
    def __init__(self, in_channels, num_outputs):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)
        )
        self.ca = ChannelAttention(16)
        self.sa = SpatialAttention()
        self.conv = nn.Conv2d(16, 32, 3, padding=1)
        self.fc = nn.Linear(32, num_outputs)

    def forward(self, x):
        x = self.stem(x)
        x = self.ca(x) * x
        x = self.sa(x) * x
        x = F.relu(self.conv(x))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(start_dim=1))


class ASPPPooling(nn.Sequential):
    def __init__(self, in_channels, out_channels):
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.ReLU())

    def forward(self, x):
        size = x.shape[-2:]
        for mod in self:
            x = mod(x)
        return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class ASPP(nn.Module):
    """Dilated windows side by side, as in DeepLab."""

    def __init__(self, in_channels, num_outputs, width=16, rates=(2, 4)):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(in_channels, 16, 3, padding=1, stride=2, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        )
        modules = [nn.Sequential(nn.Conv2d(16, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())]
        for rate in rates:
            atrous = nn.Conv2d(16, width, 3, padding=rate, dilation=rate, bias=False)
            modules.append(nn.Sequential(atrous, nn.BatchNorm2d(width), nn.ReLU()))
        modules.append(ASPPPooling(16, width))
        self.convs = nn.ModuleList(modules)
        self.project = nn.Sequential(
            nn.Conv2d(len(self.convs) * width, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Dropout(0.5),
        )
        self.classifier = nn.Conv2d(width, num_outputs, 1)

    def forward(self, x):
        input_shape = x.shape[-2:]
        x = self.backbone(x)
        res = torch.cat([conv(x) for conv in self.convs], dim=1)
        x = self.classifier(self.project(res))
        return F.interpolate(x, size=input_shape, mode="bilinear", align_corners=False)


# A 3x3 window of stride 2 and padding 1 wants odd sides (17 -> 9 -> 5), a 2x2 one of stride 2 even ones (16 -> 8 -> 4).
# The breaking sides fail at the first strided window of some networks and at a later one of others.
ARCHITECTURES = (
    Architecture("vgg", VGG, 3, (16, 16), (18, 18)),
    Architecture("lenet", LeNet, 1, (20, 20), (21, 21)),
    Architecture("resnet", ResNet, 3, (17, 17), (16, 16)),
    Architecture("bottleneck", bottleneck_resnet, 3, (33, 33), (35, 35)),
    Architecture("resnext", resnext, 3, (9, 9), (10, 10)),
    Architecture("wideresnet", WideResNet, 3, (13, 13), (14, 14)),
    Architecture("densenet", DenseNet, 3, (16, 16), (18, 18)),
    Architecture("mobilenetv2", MobileNetV2, 3, (17, 17), (19, 19)),
    Architecture("mobilenetv3", MobileNetV3, 3, (17, 17), (18, 18)),
    Architecture("efficientnet", EfficientNet, 3, (17, 17), (19, 19)),
    Architecture("senet", SENet, 3, (11, 11), (12, 12)),
    Architecture("convnext", ConvNeXt, 3, (16, 16), (18, 18)),
    Architecture("unet", UNet, 1, (16, 16), (18, 18), dense=True),
    Architecture("bilinear-unet", BilinearUNet, 2, (16, 16), (18, 18), dense=True),
    Architecture("dncnn", DnCNN, 3, (10, 10), None, dense=True),
    Architecture("all-convolutional", AllConvolutional, 3, (17, 17), (16, 16)),
    Architecture("generator", Generator, 3, (16, 16), (18, 18), dense=True),
    Architecture("resnet3d", ResNet3d, 1, (7, 7, 5), (8, 8, 5), group="D4@z"),
    Architecture("resnet1d", ResNet1d, 2, (33,), (35,), group="Z2"),
    Architecture("regression", Regression, 1, (12, 12), (14, 14)),
    Architecture("cbam", CBAM, 3, (15, 15), (16, 16)),
    Architecture("aspp", ASPP, 3, (17, 17), (16, 16), dense=True),
)


def architecture(name):
    """The one of this name."""
    return next(found for found in ARCHITECTURES if found.name == name)


@dataclass(frozen=True)
class StridedWindow:
    """One call of a convolution or pooling with a stride.

    Attributes:
        path: The module that called it; the innermost, so a layer's own path, or that of the forward it is written in.
        function: The name of torch's function.
        remainders: (N + 2p - a(k - 1) - 1) mod s, one for each axis: all zero where equation (4) holds.
    """

    path: str
    function: str
    remainders: tuple[int, ...]

    @property
    def is_compatible(self):
        return not any(self.remainders)


def strided_windows(model, x):
    """Every strided window of a network, in the order of the calls, whether a layer or a function in a forward."""
    recorder = _Recorder()
    hooks = []
    for path, module in model.named_modules():
        hooks.append(module.register_forward_pre_hook(lambda _, __, path=path: recorder.paths.append(path)))
        hooks.append(module.register_forward_hook(lambda *_: recorder.paths.pop() and None))
    with torch.no_grad(), recorder:
        model(x)
    for hook in hooks:
        hook.remove()
    return recorder.windows


_CONVOLUTION = ("weight", "bias", "stride", "padding", "dilation")
_POOLING = ("kernel_size", "stride", "padding")
_ARGUMENTS = {
    **dict.fromkeys((F.conv1d, F.conv2d, F.conv3d), _CONVOLUTION),
    **dict.fromkeys((F.avg_pool1d, F.avg_pool2d, F.avg_pool3d), _POOLING),
    **dict.fromkeys((F.max_pool1d, F.max_pool2d, F.max_pool3d), (*_POOLING, "dilation")),
}


class _Recorder(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.paths = []
        self.windows = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in _ARGUMENTS:
            self._note(func, args[0], dict(zip(_ARGUMENTS[func], args[1:], strict=False)) | kwargs)
        return func(*args, **kwargs)

    def _note(self, function, x, given):
        kernel = given["weight"].shape[2:] if "weight" in given else given["kernel_size"]
        stride = given.get("stride") or (1 if "weight" in given else kernel)
        settings = (kernel, stride, given.get("padding", 0), given.get("dilation", 1))
        if stride in (1, (1,) * (x.ndim - 2)):
            return
        per_axis = zip(x.shape[2:], *(_per_axis(setting, x.ndim - 2) for setting in settings), strict=True)
        remainders = tuple((n + 2 * p - a * (k - 1) - 1) % s for n, k, s, p, a in per_axis)  # (4)
        self.windows.append(StridedWindow(self.paths[-1], function.__name__, remainders))


def _per_axis(setting, dim):
    return (setting,) * dim if isinstance(setting, int) else tuple(setting)
