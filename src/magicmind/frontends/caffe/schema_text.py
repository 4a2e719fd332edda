"""The messages of Caffe's text format, as a table: name, type, `*` for repeated, the default where it matters.

Field names and defaults are those of the public caffe.proto and of its well-known branches (SSD, R-FCN, SegNet,
DeepLab, PSPNet, C3D, darknet's ports). Text needs no field numbers, so none are given: the branches number their own
fields differently, and a caffemodel is read with the small numbered schema `WEIGHTS` instead, which has none of them.
Fields that inference never asks for (fillers, learning rates, engines) are left out; the reader skips them.
"""

TEXT = """
enum Phase TRAIN TEST
enum PoolMethod MAX AVE STOCHASTIC
enum RoundMode CEIL FLOOR
enum EltwiseOp PROD SUM MAX
enum NormRegion ACROSS_CHANNELS WITHIN_CHANNEL
enum ReductionOp SUM=1 ASUM MEAN=4 SUMSQ=3
enum CodeType CORNER=1 CENTER_SIZE=2 CORNER_SIZE=3
enum BNMode LEARN INFERENCE
enum V1Type NONE ABSVAL ACCURACY ARGMAX BNLL CONCAT CONTRASTIVE_LOSS CONVOLUTION CONVOLUTION3D DATA DECONVOLUTION \
DROPOUT DUMMY_DATA EUCLIDEAN_LOSS ELTWISE EXP FLATTEN HDF5_DATA HDF5_OUTPUT HINGE_LOSS IM2COL IMAGE_DATA \
INFOGAIN_LOSS INNER_PRODUCT LRN MEMORY_DATA MULTINOMIAL_LOGISTIC_LOSS MVN POOLING POOLING3D POWER RELU SIGMOID \
SIGMOID_CROSS_ENTROPY_LOSS SILENCE SOFTMAX SOFTMAX_LOSS SPLIT SLICE TANH WINDOW_DATA THRESHOLD VIDEO_DATA

message Shape: dim int64*
message Blob: shape Shape, data float*, double_data double*, num int32, channels int32, height int32, width int32
message State: phase Phase=TEST, level int32, stage string*
message Rule: phase Phase, min_level int32, max_level int32, stage string*, not_stage string*
message ParamSpec: name string

message Net: name string, input string*, input_shape Shape*, input_dim int64*, state State, layer Layer*, \
layers V1Layer*

message ArgMax: out_max_val bool, top_k uint32=1, axis int32
message BatchNorm: use_global_stats bool, eps float=1e-5, scale_bias bool
message Bias: axis int32=1, num_axes int32=1
message BN: bn_mode BNMode, eps float=1e-5, frozen bool
message Clip: min float, max float
message Concat: axis int32=1, concat_dim uint32=1
message Convolution: num_output uint32, bias_term bool=true, pad uint32*, kernel_size uint32*, stride uint32*, \
dilation uint32*, pad_h uint32, pad_w uint32, kernel_h uint32, kernel_w uint32, stride_h uint32, stride_w uint32, \
group uint32=1, axis int32=1, kernel_depth uint32, temporal_pad uint32, temporal_stride uint32=1
message Crop: axis int32=2, offset uint32*
message Filler: type string="constant", value float
message Transform: crop_size uint32, force_color bool, force_gray bool, mean_value float*
message Data: batch_size uint32, crop_size uint32, new_height uint32, new_width uint32, is_color bool=true
message DummyData: data_filler Filler*, shape Shape*, num uint32*, channels uint32*, height uint32*, width uint32*
message MemoryData: batch_size uint32, channels uint32, height uint32, width uint32
message Nms: nms_threshold float=0.3, top_k int32, eta float=1.0
message DetectionOutput: num_classes uint32, share_location bool=true, background_label_id int32, nms_param Nms, \
code_type CodeType=CORNER, variance_encoded_in_target bool, keep_top_k int32=-1, confidence_threshold float, \
objectness_score float=0.01
message Eltwise: operation EltwiseOp=SUM, coeff float*
message ELU: alpha float=1
message Embed: num_output uint32, input_dim uint32, bias_term bool=true
message ExpLog: base float=-1, scale float=1, shift float
message Flatten: axis int32=1, end_axis int32=-1
message InnerProduct: num_output uint32, bias_term bool=true, axis int32=1, transpose bool
message Input: shape Shape*
message Interp: height int32, width int32, zoom_factor int32=1, shrink_factor int32=1, pad_beg int32, pad_end int32
message LRN: local_size uint32=5, alpha float=1, beta float=0.75, norm_region NormRegion, k float=1
message MVN: normalize_variance bool=true, across_channels bool, eps float=1e-9
message Normalize: across_spatial bool=true, channel_shared bool=true, eps float=1e-10
message Parameter: shape Shape
message Permute: order uint32*
message Pooling: pool PoolMethod, pad uint32*, pad_h uint32, pad_w uint32, kernel_size uint32*, kernel_h uint32, \
kernel_w uint32, stride uint32*, stride_h uint32, stride_w uint32, global_pooling bool, round_mode RoundMode, \
ceil_mode bool=true, kernel_depth uint32=1, temporal_pad uint32, temporal_stride uint32=1
message Power: power float=1, scale float=1, shift float
message PReLU: channel_shared bool
message PriorBox: min_size float*, max_size float*, aspect_ratio float*, flip bool=true, clip bool, variance float*, \
img_size uint32, img_h uint32, img_w uint32, step float, step_h float, step_w float, offset float=0.5
message Proposal: feat_stride uint32=16, base_size uint32=16, min_size float=16, ratio float*, scale float*, \
pre_nms_topn uint32=6000, post_nms_topn uint32=300, nms_thresh float=0.7
message Python: module string, layer string, param_str string
message PSROIPooling: spatial_scale float, output_dim int32, group_size int32
message Recurrent: num_output uint32, expose_hidden bool
message Reduction: operation ReductionOp=SUM, axis int32, coeff float=1
message Region: classes uint32=20, coords uint32=4, num uint32, boxes_of_each_grid uint32=5, softmax bool, \
do_softmax bool
message ReLU: negative_slope float
message Reorg: stride uint32=2, reverse bool
message Reshape: shape Shape, axis int32, num_axes int32=-1
message Reverse: axis int32*
message ROIPooling: pooled_h uint32, pooled_w uint32, spatial_scale float=1
message Scale: axis int32=1, num_axes int32=1, bias_term bool
message ShuffleChannel: group uint32=1
message Slice: axis int32=1, slice_point uint32*, slice_dim uint32=1
message Softmax: axis int32=1
message SPP: pyramid_height uint32, pool PoolMethod
message Swish: beta float=1
message Threshold: threshold float
message Tile: axis int32=1, tiles int32
message Upsample: scale float=2, scale_h float, scale_w float, stride uint32, upsample_h uint32, upsample_w uint32, \
pad_out_h bool, pad_out_w bool
message Yolo: num_classes uint32=20, num_box uint32, confidence_threshold float=0.01, nms_threshold float=0.45, \
biases float*, mask uint32*, mask_group_num uint32=2, anchors_scale uint32*

message Layer: name string, type string, bottom string*, top string*, loss_weight float*, param ParamSpec*, blobs \
Blob*, include Rule*, exclude Rule*, transform_param Transform, argmax_param ArgMax, batch_norm_param BatchNorm, \
bias_param Bias, bn_param BN, clip_param Clip, concat_param Concat, convolution_param Convolution, convolution3d_param \
Convolution, crop_param Crop, data_param Data, image_data_param Data, hdf5_data_param Data, window_data_param Data, \
detection_output_param DetectionOutput, dummy_data_param DummyData, eltwise_param Eltwise, elu_param ELU, embed_param \
Embed, exp_param ExpLog, flatten_param Flatten, inner_product_param InnerProduct, input_param Input, interp_param \
Interp, log_param ExpLog, lrn_param LRN, memory_data_param MemoryData, mvn_param MVN, norm_param Normalize, \
parameter_param Parameter, permute_param Permute, pooling_param Pooling, pooling3d_param Pooling, power_param Power, \
prelu_param PReLU, prior_box_param PriorBox, proposal_param Proposal, python_param Python, psroi_pooling_param \
PSROIPooling, recurrent_param Recurrent, reduction_param Reduction, region_param Region, relu_param ReLU, reorg_param \
Reorg, reshape_param Reshape, reverse_param Reverse, roi_pooling_param ROIPooling, scale_param Scale, \
shuffle_channel_param ShuffleChannel, slice_param Slice, softmax_param Softmax, spp_param SPP, swish_param Swish, \
threshold_param Threshold, tile_param Tile, upsample_param Upsample, yolo_detection_output_param Yolo, \
yolov3_detection_output_param Yolo

message V1Layer: bottom string*, top string*, name string, type V1Type, loss_weight float*, include Rule*, exclude \
Rule*, blobs Blob*, param string*, argmax_param ArgMax, concat_param Concat, convolution_param Convolution, data_param \
Data, dummy_data_param DummyData, eltwise_param Eltwise, exp_param ExpLog, hdf5_data_param Data, image_data_param \
Data, inner_product_param InnerProduct, lrn_param LRN, memory_data_param MemoryData, mvn_param MVN, pooling_param \
Pooling, power_param Power, relu_param ReLU, slice_param Slice, softmax_param Softmax, threshold_param Threshold, \
window_data_param Data, transform_param Transform, layer V0Layer

message V0Layer: name string, type string, num_output uint32, biasterm bool=true, pad uint32, kernelsize uint32, \
group uint32=1, stride uint32=1, pool PoolMethod, local_size uint32=5, alpha float=1, beta float=0.75, k float=1, \
batchsize uint32, cropsize uint32, blobs Blob*, new_height uint32, new_width uint32, concat_dim uint32=1
"""

WEIGHTS = """
message Shape: dim@1 int64*
message Blob: num@1 int32, channels@2 int32, height@3 int32, width@4 int32, data@5 bytes*, shape@7 Shape, \
double_data@8 bytes*
message Layer: name@1 string, type@2 string, param@6 ParamSpec*, blobs@7 Blob*
message ParamSpec: name@1 string
message V0Layer: name@1 string, blobs@50 Blob*
message V1Layer: layer@1 V0Layer, name@4 string, blobs@6 Blob*, param@1001 string*
message Net: name@1 string, layers@2 V1Layer*, layer@100 Layer*
"""
"""What a binary caffemodel is read with. Numbers are declared as bytes, which is what a packed list is on the wire: no
list of Python floats is ever made."""

UNPACKED = WEIGHTS.replace("data@5 bytes*", "data@5 float*").replace("double_data@8 bytes*", "double_data@8 double*")
"""The same for files whose numbers are not packed."""
