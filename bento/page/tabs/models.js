export default { title: "Models", request: null, show({ root }) { root.append("…"); } };
