// What the API says about a pod.

const condition = (pod, type) => pod?.status.conditions?.find((it) => it.type === type)?.status === "True";

/** Ready, and to stay. */
export const isReady = (pod) => condition(pod, "Ready") && !pod.metadata.deletionTimestamp;
export const nameOf = (pod) => pod.metadata.name;
/** The container of a pod, as its engine names it. */
export const containerOf = (pod) => pod.status.containerStatuses?.[0]?.containerID?.replace(/^.*:\/\//, "");
export const restartsOf = (pod) => pod?.status.containerStatuses?.[0]?.restartCount ?? 0;
/** Why a container does not run, such as `ImagePullBackOff`. */
export const waitsFor = (pod) => pod.status.containerStatuses?.[0]?.state.waiting?.reason;
