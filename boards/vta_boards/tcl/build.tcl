# From the Verilog to <stem>.bit, .hwh, .bin and .xsa:   vivado -mode batch -source build.tcl
# Lines that begin with "vta: " are for the program that started this; a failure ends with exit status 1.

set folder [file dirname [file normalize [info script]]]
cd $folder
source settings.tcl
source block_design.tcl

# As many jobs as this machine has processors.
set jobs 4
catch {set jobs [exec nproc]}

set step 0
proc begin {what} {
    global step
    incr step
    puts "vta: step $step of 7: $what"
    flush stdout
}

proc give_up {message} {
    puts "vta: error: $message"
    flush stdout
    exit 1
}

# What an earlier run made, so that a failure leaves nothing that could be taken for this one's.
proc clear_files {} {
    global vta
    foreach ending {.bit .hwh .bin .xsa _timing.txt _utilization.txt} {
        file delete $vta(stem)$ending
    }
}

proc start_project {} {
    global vta
    create_project -force $vta(design) project -part $vta(device)
    set boards [lsort -dictionary [get_board_parts -quiet $vta(board_part)]]
    set vta(has_board_files) [expr {[llength $boards] > 0}]
    if {$vta(has_board_files)} {
        set_property board_part [lindex $boards end] [current_project]
        if {$vta(carrier_part) ne ""} {
            set carriers [lsort -dictionary [get_board_parts -quiet $vta(carrier_part)]]
            if {[llength $carriers] > 0} {
                set_property board_connections "$vta(carrier_connector) [lindex $carriers end]" [current_project]
            }
        }
    } else {
        puts "vta: warning: no board files match $vta(board_part) (from $vta(board_files)); DRAM keeps the settings\
            that the board's boot image makes"
    }
    add_files -norecurse $vta(sources)
    add_files -fileset constrs_1 -norecurse $vta(constraints)
    update_compile_order -fileset sources_1
}

proc make_top {} {
    global vta
    set design [get_files $vta(design).bd]
    generate_target all $design
    add_files -norecurse [make_wrapper -files $design -top]
    set_property top $vta(design)_wrapper [current_fileset]
    update_compile_order -fileset sources_1
}

# A run is started, waited for, and must have done all of its steps.
proc finish_run {name args} {
    launch_runs $name -jobs $::jobs {*}$args
    wait_on_run $name
    if {[get_property PROGRESS [get_runs $name]] ne "100%"} {
        give_up "$name failed: [get_property STATUS [get_runs $name]];\
            see project/$::vta(design).runs/$name/runme.log"
    }
}

# Worst slack in ns for setup or hold; negative: name the path and stop.
proc check_slack {kind option} {
    set paths [get_timing_paths $option -max_paths 1 -nworst 1]
    if {[llength $paths] == 0} {
        give_up "the implemented design has no timing path: its clock is missing"
    }
    set path [lindex $paths 0]
    set slack [get_property SLACK $path]
    puts "vta: $kind slack $slack ns"
    if {$slack < 0} {
        give_up "timing failed: $kind slack $slack ns from [get_property STARTPOINT_PIN $path] to\
            [get_property ENDPOINT_PIN $path]; choose a lower --clock"
    }
}

proc export_files {} {
    global vta
    set stem $vta(stem)
    file copy -force [lindex [glob project/$vta(design).runs/impl_1/*.bit] 0] $stem.bit
    set handoff [glob -nocomplain project/$vta(design).gen/sources_1/bd/$vta(design)/hw_handoff/*.hwh \
        project/$vta(design).srcs/sources_1/bd/$vta(design)/hw_handoff/*.hwh]
    if {[llength $handoff] == 0} {
        give_up "Vivado wrote no .hwh below project/; PYNQ needs it"
    }
    file copy -force [lindex $handoff 0] $stem.hwh
    write_cfgmem -force -format BIN -interface SMAPx32 -disablebitswap -loadbit "up 0x0 $stem.bit" $stem.bin
    write_hw_platform -fixed -include_bit -force -file $stem.xsa
}

begin "project"
clear_files
start_project
begin "block design"
make_block_design
make_top
begin "synthesis"
finish_run synth_1
begin "placement and routing"
set_property strategy Performance_ExplorePostRoutePhysOpt [get_runs impl_1]
finish_run impl_1
begin "timing"
open_run impl_1
report_timing_summary -file $vta(stem)_timing.txt
report_utilization -file $vta(stem)_utilization.txt
check_slack setup -setup
check_slack hold -hold
begin "bitstream"
finish_run impl_1 -to_step write_bitstream
begin "files"
export_files
puts "vta: done: $vta(stem).bit $vta(stem).hwh $vta(stem).bin $vta(stem).xsa"
