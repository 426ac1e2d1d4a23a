# The block design: processing system, accelerator, an interconnect for its registers, one for its memory, and reset.
# Takes the array vta of settings.tcl; make_block_design builds it and leaves it validated and saved.

proc newest_ip {vendor_library_name} {
    set found [lsort -dictionary [get_ipdefs -all "${vendor_library_name}:*"]]
    if {[llength $found] == 0} {
        error "this Vivado has no IP $vendor_library_name; install the device family's IP with Vivado's installer"
    }
    return [lindex $found end]
}

# What each family calls the same things: properties of the processing system.
proc system_properties {} {
    global vta
    if {$vta(family) eq "zynq7"} {
        return [list \
            CONFIG.PCW_USE_M_AXI_GP0 1 \
            CONFIG.PCW_USE_S_AXI_HP0 1 \
            CONFIG.PCW_S_AXI_HP0_DATA_WIDTH $vta(memory_width) \
            CONFIG.PCW_EN_CLK0_PORT 1 \
            CONFIG.PCW_EN_RST0_PORT 1 \
            CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ $vta(clock_mhz) \
            CONFIG.PCW_USE_FABRIC_INTERRUPT 1 \
            CONFIG.PCW_IRQ_F2P_INTR 1]
    }
    return [list \
        CONFIG.PSU__USE__M_AXI_GP0 1 \
        CONFIG.PSU__USE__M_AXI_GP1 0 \
        CONFIG.PSU__USE__M_AXI_GP2 0 \
        CONFIG.PSU__MAXIGP0__DATA_WIDTH 32 \
        CONFIG.PSU__USE__S_AXI_GP2 1 \
        CONFIG.PSU__SAXIGP2__DATA_WIDTH $vta(memory_width) \
        CONFIG.PSU__FPGA_PL0_ENABLE 1 \
        CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ $vta(clock_mhz) \
        CONFIG.PSU__USE__IRQ0 1]
}

proc make_system {} {
    global vta
    set cell [create_bd_cell -type ip -vlnv [newest_ip $vta(system_ip)] $vta(system)]
    set rule "xilinx.com:bd_rule:[lindex [split $vta(system_ip) :] 2]"
    if {$vta(family) eq "zynq7"} {
        apply_bd_automation -rule $rule -config [list make_external "FIXED_IO, DDR" \
            apply_board_preset $vta(has_board_files) Master Disable Slave Disable] $cell
    } elseif {$vta(has_board_files)} {
        apply_bd_automation -rule $rule -config [list apply_board_preset 1] $cell
    }
    set_property -dict [system_properties] $cell
}

proc make_interconnect {name} {
    set cell [create_bd_cell -type ip -vlnv [newest_ip xilinx.com:ip:smartconnect] $name]
    set_property -dict [list CONFIG.NUM_SI 1 CONFIG.NUM_MI 1 CONFIG.NUM_CLKS 1] $cell
}

proc connect_buses {from to} {
    connect_bd_intf_net [get_bd_intf_pins $from] [get_bd_intf_pins $to]
}

proc connect_pins {from args} {
    connect_bd_net [get_bd_pins $from] [get_bd_pins $args]
}

proc connect_all {} {
    global vta
    connect_buses $vta(system)/$vta(control_port) registers/S00_AXI
    connect_buses registers/M00_AXI vta/s_axi_control
    connect_buses vta/m_axi_gmem memory/S00_AXI
    connect_buses memory/M00_AXI $vta(system)/$vta(memory_port)
    connect_pins $vta(system)/$vta(clock) vta/aclk registers/aclk memory/aclk reset/slowest_sync_clk \
        $vta(system)/$vta(control_clock) $vta(system)/$vta(memory_clock)
    connect_pins $vta(system)/$vta(reset) reset/ext_reset_in
    connect_pins reset/peripheral_aresetn vta/aresetn
    connect_pins reset/interconnect_aresetn registers/aresetn memory/aresetn
    connect_pins vta/interrupt $vta(system)/$vta(interrupt)
}

proc assign_addresses {} {
    global vta
    assign_bd_address -offset $vta(control_base) -range $vta(control_size) \
        -target_address_space [get_bd_addr_spaces $vta(system)/Data] [get_bd_addr_segs vta/s_axi_control/reg0]
    foreach segment $vta(memory_segments) {
        assign_bd_address -target_address_space [get_bd_addr_spaces vta/m_axi_gmem] \
            [get_bd_addr_segs $vta(system)/$segment]
    }
}

proc make_block_design {} {
    global vta
    create_bd_design $vta(design)
    make_system
    create_bd_cell -type module -reference $vta(module) vta
    make_interconnect registers
    make_interconnect memory
    create_bd_cell -type ip -vlnv [newest_ip xilinx.com:ip:proc_sys_reset] reset
    connect_all
    assign_addresses
    validate_bd_design
    save_bd_design
}
