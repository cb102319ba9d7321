export default { title: "Explore", request: "decode", show({ root }) { root.append("…"); } };
