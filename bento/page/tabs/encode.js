export default { title: "Encode", request: "encode", show({ root }) { root.append("…"); } };
