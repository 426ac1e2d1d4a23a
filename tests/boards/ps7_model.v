// What stands in for the two primitives of vta_ps7_top: S_AXI_HP0 and M_AXI_GP0 are the ports of a test top "vta_top",
// so that the memory model and the protocol checker of the RTL simulation see what the PS7 would. AXI3's own rules are
// looked at here: a burst's data carry the ID of its address, and the registers' answers the ID of their request. After
// a violation nothing is answered any more.
module BUFG(input I, output O);
    assign O = I;
endmodule

module PS7(
    output [3:0] FCLKCLK,
    output [3:0] FCLKRESETN,
    input [3:0] FCLKCLKTRIGN,
    input FPGAIDLEN,
    input [19:0] IRQF2P,
    input MAXIGP0ACLK,
    output [31:0] MAXIGP0ARADDR, MAXIGP0AWADDR, MAXIGP0WDATA,
    output [11:0] MAXIGP0ARID, MAXIGP0AWID,
    output [3:0] MAXIGP0ARLEN, MAXIGP0AWLEN, MAXIGP0WSTRB,
    output MAXIGP0ARVALID, MAXIGP0AWVALID, MAXIGP0WVALID, MAXIGP0WLAST, MAXIGP0BREADY, MAXIGP0RREADY,
    input MAXIGP0ARREADY, MAXIGP0AWREADY, MAXIGP0WREADY, MAXIGP0BVALID, MAXIGP0RVALID, MAXIGP0RLAST,
    input [11:0] MAXIGP0BID, MAXIGP0RID,
    input [1:0] MAXIGP0BRESP, MAXIGP0RRESP,
    input [31:0] MAXIGP0RDATA,
    input SAXIHP0ACLK,
    input [31:0] SAXIHP0ARADDR, SAXIHP0AWADDR,
    input [1:0] SAXIHP0ARBURST, SAXIHP0AWBURST, SAXIHP0ARLOCK, SAXIHP0AWLOCK, SAXIHP0ARSIZE, SAXIHP0AWSIZE,
    input [3:0] SAXIHP0ARCACHE, SAXIHP0AWCACHE, SAXIHP0ARLEN, SAXIHP0AWLEN, SAXIHP0ARQOS, SAXIHP0AWQOS,
    input [5:0] SAXIHP0ARID, SAXIHP0AWID, SAXIHP0WID,
    input [2:0] SAXIHP0ARPROT, SAXIHP0AWPROT,
    input SAXIHP0ARVALID, SAXIHP0AWVALID, SAXIHP0WVALID, SAXIHP0WLAST, SAXIHP0BREADY, SAXIHP0RREADY,
    output SAXIHP0ARREADY, SAXIHP0AWREADY, SAXIHP0WREADY, SAXIHP0BVALID, SAXIHP0RVALID, SAXIHP0RLAST,
    output [1:0] SAXIHP0BRESP, SAXIHP0RRESP,
    output [63:0] SAXIHP0RDATA,
    input [63:0] SAXIHP0WDATA,
    input [7:0] SAXIHP0WSTRB,
    input SAXIHP0RDISSUECAP1EN, SAXIHP0WRISSUECAP1EN
);
    wire clock = vta_top.aclk;
    assign FCLKCLK = {3'b0, vta_top.aclk};
    assign FCLKRESETN = {3'b0, vta_top.aresetn};
    assign vta_top.interrupt = IRQF2P[0];

    // Registers: every access is a burst of one beat under a new ID.
    reg [11:0] read_id = 12'h5a3, write_id = 12'ha5c;
    reg bad = 0;
    assign MAXIGP0ARID = read_id;
    assign MAXIGP0AWID = write_id;
    assign MAXIGP0ARADDR = 32'h43c00000 | {20'b0, vta_top.s_axi_control_araddr};
    assign MAXIGP0AWADDR = 32'h43c00000 | {20'b0, vta_top.s_axi_control_awaddr};
    assign MAXIGP0ARLEN = 0;
    assign MAXIGP0AWLEN = 0;
    assign MAXIGP0WLAST = 1;
    assign MAXIGP0WDATA = vta_top.s_axi_control_wdata;
    assign MAXIGP0WSTRB = vta_top.s_axi_control_wstrb;
    assign MAXIGP0ARVALID = vta_top.s_axi_control_arvalid;
    assign MAXIGP0AWVALID = vta_top.s_axi_control_awvalid;
    assign MAXIGP0WVALID = vta_top.s_axi_control_wvalid;
    assign MAXIGP0BREADY = vta_top.s_axi_control_bready;
    assign MAXIGP0RREADY = vta_top.s_axi_control_rready;
    assign vta_top.s_axi_control_arready = MAXIGP0ARREADY;
    assign vta_top.s_axi_control_awready = MAXIGP0AWREADY;
    assign vta_top.s_axi_control_wready = MAXIGP0WREADY;
    assign vta_top.s_axi_control_bvalid = MAXIGP0BVALID & ~bad;
    assign vta_top.s_axi_control_bresp = MAXIGP0BRESP;
    assign vta_top.s_axi_control_rvalid = MAXIGP0RVALID & ~bad;
    assign vta_top.s_axi_control_rdata = MAXIGP0RDATA;
    assign vta_top.s_axi_control_rresp = MAXIGP0RRESP;

    // Memory: AXI4 with the fields that AXI3 has fewer bits of.
    assign vta_top.m_axi_gmem_arid = 0;
    assign vta_top.m_axi_gmem_awid = 0;
    assign vta_top.m_axi_gmem_araddr = SAXIHP0ARADDR;
    assign vta_top.m_axi_gmem_awaddr = SAXIHP0AWADDR;
    assign vta_top.m_axi_gmem_arlen = {4'b0, SAXIHP0ARLEN};
    assign vta_top.m_axi_gmem_awlen = {4'b0, SAXIHP0AWLEN};
    assign vta_top.m_axi_gmem_arsize = {1'b0, SAXIHP0ARSIZE};
    assign vta_top.m_axi_gmem_awsize = {1'b0, SAXIHP0AWSIZE};
    assign vta_top.m_axi_gmem_arburst = SAXIHP0ARBURST;
    assign vta_top.m_axi_gmem_awburst = SAXIHP0AWBURST;
    assign vta_top.m_axi_gmem_arlock = SAXIHP0ARLOCK[0];
    assign vta_top.m_axi_gmem_awlock = SAXIHP0AWLOCK[0];
    assign vta_top.m_axi_gmem_arcache = SAXIHP0ARCACHE;
    assign vta_top.m_axi_gmem_awcache = SAXIHP0AWCACHE;
    assign vta_top.m_axi_gmem_arprot = SAXIHP0ARPROT;
    assign vta_top.m_axi_gmem_awprot = SAXIHP0AWPROT;
    assign vta_top.m_axi_gmem_arqos = SAXIHP0ARQOS;
    assign vta_top.m_axi_gmem_awqos = SAXIHP0AWQOS;
    assign vta_top.m_axi_gmem_arvalid = SAXIHP0ARVALID & ~bad;
    assign vta_top.m_axi_gmem_awvalid = SAXIHP0AWVALID & ~bad;
    assign vta_top.m_axi_gmem_wvalid = SAXIHP0WVALID;
    assign vta_top.m_axi_gmem_wlast = SAXIHP0WLAST;
    assign vta_top.m_axi_gmem_wdata = SAXIHP0WDATA;
    assign vta_top.m_axi_gmem_wstrb = SAXIHP0WSTRB;
    assign vta_top.m_axi_gmem_bready = SAXIHP0BREADY;
    assign vta_top.m_axi_gmem_rready = SAXIHP0RREADY;
    assign SAXIHP0ARREADY = vta_top.m_axi_gmem_arready & ~bad;
    assign SAXIHP0AWREADY = vta_top.m_axi_gmem_awready & ~bad;
    assign SAXIHP0WREADY = vta_top.m_axi_gmem_wready;
    assign SAXIHP0BVALID = vta_top.m_axi_gmem_bvalid;
    assign SAXIHP0BRESP = vta_top.m_axi_gmem_bresp;
    assign SAXIHP0RVALID = vta_top.m_axi_gmem_rvalid;
    assign SAXIHP0RLAST = vta_top.m_axi_gmem_rlast;
    assign SAXIHP0RRESP = vta_top.m_axi_gmem_rresp;
    assign SAXIHP0RDATA = vta_top.m_axi_gmem_rdata;

    wire answered_read = MAXIGP0RVALID & MAXIGP0RREADY;
    wire answered_write = MAXIGP0BVALID & MAXIGP0BREADY;
    always @(posedge clock) if (vta_top.aresetn) begin
        if (answered_read) read_id <= read_id + 12'd77;
        if (answered_write) write_id <= write_id + 12'd91;
        if (answered_read & (MAXIGP0RID != read_id | ~MAXIGP0RLAST)) bad <= 1;
        if (answered_write & MAXIGP0BID != write_id) bad <= 1;
        if (SAXIHP0WVALID & SAXIHP0WID != SAXIHP0AWID) bad <= 1;
        if (SAXIHP0ARVALID & SAXIHP0ARLOCK != 0 | SAXIHP0AWVALID & SAXIHP0AWLOCK != 0) bad <= 1;
    end
endmodule
