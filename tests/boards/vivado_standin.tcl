# Vivado's commands as far as our scripts use them, told to standin.log: one line a command, fields parted by a unit
# separator. Commands that are not here are errors, as are pins, ports and cells that do not exist. The environment
# says what goes wrong: STANDIN_SLACK, STANDIN_FAIL (name of a run), STANDIN_NO_BOARD, STANDIN_HANG.

set standin(log) [open standin.log w]
set standin(cells) {}
set standin(exits) 0

proc tell {args} {
    puts $::standin(log) [join $args "\x1f"]
    flush $::standin(log)
}
proc env_or {name default} {
    return [expr {[info exists ::env($name)] ? $::env($name) : $default}]
}
rename exit standin_exit
proc exit {{status 0}} {
    tell exit $status
    standin_exit $status
}

# The IP catalog, with two versions of one IP: the newest must be taken.
proc get_ipdefs {args} {
    set pattern [lindex $args end]
    set all {
        xilinx.com:ip:processing_system7:5.5 xilinx.com:ip:zynq_ultra_ps_e:3.5 xilinx.com:ip:proc_sys_reset:5.0
        xilinx.com:ip:smartconnect:1.0 xilinx.com:ip:smartconnect:1.9 xilinx.com:ip:smartconnect:1.10
    }
    return [lsearch -all -inline $all $pattern]
}
proc get_board_parts {args} {
    if {[env_or STANDIN_NO_BOARD 0]} { return {} }
    set pattern [lindex $args end]
    return [list [string map {* 1.0} $pattern] [string map {* 1.10} $pattern] [string map {* 1.9} $pattern]]
}

# Pins of each kind of cell; those of the accelerator come from its Verilog.
proc pins_of {cell} {
    switch -glob [dict get $::standin(cells) $cell] {
        *:processing_system7:* {
            return {FCLK_CLK0 FCLK_RESET0_N IRQ_F2P M_AXI_GP0 M_AXI_GP0_ACLK S_AXI_HP0 S_AXI_HP0_ACLK DDR FIXED_IO}
        }
        *:zynq_ultra_ps_e:* {
            return {pl_clk0 pl_resetn0 pl_ps_irq0 M_AXI_HPM0_FPD maxihpm0_fpd_aclk S_AXI_HP0_FPD saxihp0_fpd_aclk}
        }
        *:smartconnect:* { return {aclk aresetn S00_AXI M00_AXI} }
        *:proc_sys_reset:* {
            return {slowest_sync_clk ext_reset_in aux_reset_in dcm_locked peripheral_aresetn interconnect_aresetn}
        }
        module:* {
            set handle [open [string range [dict get $::standin(cells) $cell] 7 end].v]
            set text [read $handle]
            close $handle
            set pins {s_axi_control m_axi_gmem}
            foreach {whole name} [regexp -all -inline {(?:input |output) wire (?:\[\d+:0\] )?(\w+)} $text] {
                if {![regexp {^[sm]_axi_} $name]} { lappend pins $name }
            }
            return $pins
        }
    }
}
proc find_pins {names} {
    foreach name $names {
        lassign [split $name /] cell pin
        if {![dict exists $::standin(cells) $cell]} { error "no cell $cell" }
        if {$pin ni [pins_of $cell]} { error "cell $cell has no pin $pin" }
    }
    return $names
}
proc get_bd_pins {names} { return [find_pins $names] }
proc get_bd_intf_pins {names} { return [find_pins $names] }
proc get_bd_addr_spaces {name} { return "space:$name" }
proc get_bd_addr_segs {name} { return "segment:$name" }

proc create_bd_cell {args} {
    array set option [lrange $args 0 end-1]
    set name [lindex $args end]
    set kind [expr {$option(-type) eq "module" ? "module:$option(-reference)" : $option(-vlnv)}]
    dict set ::standin(cells) $name $kind
    tell create_bd_cell $name $kind
    return $name
}
proc set_property {args} {
    if {[lindex $args 0] eq "-dict"} {
        foreach {name value} [lindex $args 1] { tell set_property [lindex $args 2] $name $value }
    } else {
        tell set_property [lindex $args 2] [lindex $args 0] [lindex $args 1]
    }
}
proc get_property {name object} {
    switch $name {
        PROGRESS { return [expr {$object eq [env_or STANDIN_FAIL ""] ? "37%" : "100%"}] }
        STATUS { return "route_design ERROR" }
        SLACK { return [expr {[string match *-hold* $object] ? 0.031 : [env_or STANDIN_SLACK 0.214]}] }
        STARTPOINT_PIN { return "vta/inner/core/compute/gemm/acc_reg/C" }
        ENDPOINT_PIN { return "vta/inner/core/compute/alu/sum_reg/D" }
    }
    error "no property $name"
}
proc wait_on_run {name} {
    tell wait_on_run $name
    if {[env_or STANDIN_HANG 0]} { after 600000 }
}
proc launch_runs {name args} {
    tell launch_runs $name {*}$args
    if {"write_bitstream" in $args} {
        file mkdir project/$::standin(project).runs/impl_1
        set handle [open project/$::standin(project).runs/impl_1/$::standin(project)_wrapper.bit w]
        puts $handle bits
        close $handle
    }
}
proc create_project {args} {
    tell create_project {*}$args
    set ::standin(project) [lindex $args 1]
}
proc generate_target {what file} {
    tell generate_target $what $file
    set design $::standin(project)
    set folder project/$design.gen/sources_1/bd/$design/hw_handoff
    file mkdir $folder
    close [open $folder/$design.hwh w]
}
proc make_wrapper {args} { return $::standin(project)_wrapper.v }
proc get_timing_paths {args} { return [list "path[lindex $args 0]"] }
proc write_cfgmem {args} {
    tell write_cfgmem {*}$args
    close [open [lindex $args end] w]
}
proc write_hw_platform {args} {
    tell write_hw_platform {*}$args
    close [open [lindex $args end] w]
}
proc get_files {args} { return [lindex $args end] }
proc get_runs {name} { return $name }
proc current_project {} { return project }
proc current_fileset {} { return fileset }
foreach name {
    add_files update_compile_order create_bd_design apply_bd_automation connect_bd_net connect_bd_intf_net
    assign_bd_address validate_bd_design save_bd_design open_run report_timing_summary report_utilization
} {
    proc $name {args} [format {tell %s {*}$args} $name]
}
